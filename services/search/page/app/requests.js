// A query as requests to the API.

import { ask } from "./api.js";
import { isRanked } from "./query.js";
import { recallPhoto } from "./photo.js";

/** So many results are asked for at a time. */
export const PAGE = 100;

/** A photo of the address that this browser does not hold: the link came from somebody else, or it is long ago. */
export class PhotoGone extends Error {}

/**
 * The filters as query parameters; `without` names a field to leave out. Several tags must all be there, of
 * several buckets, cameras or formats any one will do.
 */
export function filterParameters(query, without = "") {
  const leaves = [];
  if (without !== "tag") leaves.push(...query.tag.map((tag) => ({ tag })));
  for (const name of ["bucket", "camera", "format"]) {
    const any = name === without ? [] : query[name].map((value) => ({ [name]: value }));
    if (any.length) leaves.push(any.length === 1 ? any[0] : { any });
  }
  if (without !== "date") {
    if (query.after) leaves.push({ [`${query.date}_after`]: query.after });
    if (query.before) leaves.push({ [`${query.date}_before`]: query.before });
  }
  const simple = query.tag.length <= 1 && leaves.every((leaf) => !("any" in leaf));
  if (simple) return Object.assign({}, ...leaves);
  return { filter: JSON.stringify({ all: leaves }) };
}

/** A page of results: `{results: [{id, bucket, key, payload, score, relevance, duplicates}], next, took}`. */
export async function fetchResults(query, cursor, signal) {
  const parameters = { ...filterParameters(query), limit: PAGE, cursor, sort: query.sort };
  if (!isRanked(query)) {
    parameters.sort ||= "newest_uploaded";
    const answer = await ask("v1/images", { parameters, signal });
    return { results: answer.images, next: answer.next_cursor, took: null };
  }
  if (query.good) parameters.good_only = true;
  if (!query.fold) parameters.fold = false;
  const answer = await ask("v1/search", { ...(await asked(query, parameters)), signal });
  return { results: answer.results, next: answer.next_cursor ?? null, took: answer.took_ms };
}

async function asked(query, parameters) {
  const photo = query.photo ? await recallPhoto(query.photo) : null;
  if (query.photo && !photo) throw new PhotoGone();
  const steered = query.like.length || query.unlike.length;
  if (!steered && !photo) return { parameters: { ...parameters, q: query.q } };
  if (!steered) {
    const form = new FormData();
    form.append("image", photo.blob, photo.name);
    if (query.q) form.append("text", query.q);
    return { method: "POST", parameters, form };
  }
  const like = query.like.map((id) => ({ id }));
  if (query.q) like.unshift({ text: query.q });
  if (photo) like.unshift({ image_base64: await base64(photo.blob) });
  return { method: "POST", parameters, json: { like, unlike: query.unlike.map((id) => ({ id })) } };
}

/** The images most like one, near-duplicates apart. */
export async function fetchAlike(id, limit, signal) {
  const answer = await ask("v1/search", { method: "POST", parameters: { limit, fold: false }, json: { id }, signal });
  return answer.results;
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1]);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
