// A photo to search by: chosen, dropped or pasted. Large ones are shrunk before they travel.

const LARGE = 1_500_000;
const SIDE = 1024;
const KEPT_SIDE = 512;
const MOST_KEPT = 4;
const KEPT = "sightline-photo-";
const photos = new Map();

/** Remember a photo; answers the id that stands for it in the address. */
export async function rememberPhoto(file) {
  const id = Math.random().toString(36).slice(2, 10);
  const name = file.name || "photo";
  const travels = file.size > LARGE ? (await shrink(file, SIDE)) ?? file : file;
  photos.set(id, { blob: travels, name });
  keep(id, name, (await shrink(file, KEPT_SIDE)) ?? (file.size < LARGE ? file : null));
  return id;
}

/** The photo of an id as `{blob, name}`; null where this tab does not hold it. After a reload it is a smaller copy. */
export async function recallPhoto(id) {
  if (!photos.has(id)) {
    const kept = read(id);
    if (kept) photos.set(id, kept);
  }
  return photos.get(id) ?? null;
}

/** The images among dropped or pasted things. */
export const imagesIn = (transfer) =>
  [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(file.name));

async function shrink(file, side) {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, side / Math.max(picture.width, picture.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(picture.width * scale));
    canvas.height = Math.max(1, Math.round(picture.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // JPEG knows no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  } catch {
    return null; // a format that this browser cannot show; the service may
  }
}

function keep(id, name, blob) {
  if (!blob) return;
  const reader = new FileReader();
  reader.onload = () => {
    try {
      const old = Object.keys(sessionStorage).filter((key) => key.startsWith(KEPT));
      const aged = old.sort((one, other) => JSON.parse(sessionStorage[one]).at - JSON.parse(sessionStorage[other]).at);
      for (const key of aged.slice(0, Math.max(0, old.length - MOST_KEPT + 1))) sessionStorage.removeItem(key);
      sessionStorage.setItem(KEPT + id, JSON.stringify({ name, at: Date.now(), data: reader.result }));
    } catch {
      // Without room or permission the photo lasts until the page is loaded again.
    }
  };
  reader.readAsDataURL(blob);
}

function read(id) {
  try {
    const { name, data } = JSON.parse(sessionStorage.getItem(KEPT + id));
    const [head, body] = data.split(",", 2);
    const raw = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    return { name, blob: new Blob([raw], { type: head.slice(5).split(";")[0] }) };
  } catch {
    return null;
  }
}
