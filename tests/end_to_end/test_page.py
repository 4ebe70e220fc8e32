"""What people do with the page, in a real browser, against a service that is made up."""

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.end_to_end.browsing import PHONE, Visit, visiting
from tests.end_to_end.fake_service import FakeService, Served, bucket, made_up, problem, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def picture(colour: str = "red") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(written, "PNG")
    return written.getvalue()


def paste(visit: Visit, how: str) -> None:
    """Give the page a photo as the clipboard or a drop does."""
    visit.page.evaluate(
        """([bytes, how]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            const event = how === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [list(picture()), how],
    )


def last_search(service: FakeService) -> tuple[str, dict[str, str], Any]:
    method, _, parameters, body = next(one for one in reversed(service.asked) if one[1] == "/v1/search")
    return method, parameters, body


def test_words_are_searched_for_and_stay_in_the_address(visit: Visit, service: FakeService) -> None:
    visit.open()
    visit.says("#count", "40 images")
    visit.search("a red fox")
    visit.page.wait_for_selector(".tile .meter")
    assert visit.address() == "?q=a+red+fox"
    assert last_search(service)[1]["q"] == "a red fox"
    assert visit.page.title() == "a red fox – Sightline"
    assert visit.texts(".tile .fit")[0] == "98%"

    visit.page.reload()
    visit.page.wait_for_selector(".tile .meter")
    assert visit.page.input_value("#words") == "a red fox"

    visit.search("a boat")
    visit.until("document.title.startsWith('a boat')")
    visit.page.go_back()
    visit.until("document.title.startsWith('a red fox')")
    assert visit.page.input_value("#words") == "a red fox"


def test_a_listing_says_how_many_there_are_and_shows_no_scores(visit: Visit) -> None:
    visit.open()
    visit.says("#count", "40 images")
    assert visit.texts(".tile .fit") == []
    assert "fox" in visit.texts(".tile .says")[0]


def test_chips_narrow_the_results_and_are_taken_away_again(visit: Visit, service: FakeService) -> None:
    visit.open()
    visit.page.click(".group button.chip:has-text('fox')")
    visit.says("#count", "5 images")
    assert visit.address() == "?tag=fox"
    visit.page.click(".group button.chip:has-text('Canon')")
    visit.until("document.querySelectorAll('#grid .tile').length === 2")
    assert visit.texts("#asked .chip-text") == ["fox", "Canon EOS R6"]
    # Other cameras would add to the results, so they keep their counts.
    assert visit.texts(".group button.chip:has-text('Pixel') small") == ["1"]
    visit.page.click(".group button.chip:has-text('Pixel')")
    visit.until("document.querySelectorAll('#grid .tile').length === 3")
    listed = next(one for one in reversed(service.asked) if one[1] == "/v1/images" and "filter" in one[2])
    assert json.loads(listed[2]["filter"]) == {
        "all": [{"tag": "fox"}, {"any": [{"camera": "Canon EOS R6"}, {"camera": "Pixel 9"}]}]
    }
    visit.page.click("#asked button[aria-label='Remove: fox']")
    visit.page.click("#asked button:has-text('Clear all')")
    visit.says("#count", "40 images")
    assert visit.address() == ""


def test_only_good_matches_and_the_order_are_asked_for(visit: Visit, service: FakeService) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.get_by_label("Only good matches").check()
    visit.says("#count", "10 images")
    visit.page.select_option("#sort", "newest_taken")
    visit.until("location.search.includes('sort=newest_taken')")
    visit.page.get_by_label("Fold near-duplicates").uncheck()
    visit.until("location.search.includes('fold=0')")
    visit.until("document.body.ariaBusy !== 'true'")
    parameters = last_search(service)[1]
    assert (parameters["good_only"], parameters["sort"], parameters["fold"]) == ("true", "newest_taken", "false")


def test_an_order_that_results_by_likeness_do_not_have_is_left_behind(visit: Visit, service: FakeService) -> None:
    visit.open()
    visit.page.select_option("#sort", "newest_indexed")
    visit.until("location.search === '?sort=newest_indexed'")
    visit.search("fox")
    visit.page.wait_for_selector(".tile .meter")
    assert visit.address() == "?q=fox"
    assert visit.page.input_value("#sort") == ""
    visit.page.go_back()
    visit.until("document.querySelector('#sort').value === 'newest_indexed'")
    visit.page.hover(".tile >> nth=0")
    visit.page.click(".tile >> nth=0 >> button[aria-label^='More like']")
    visit.page.wait_for_selector(".tile .meter")
    # An address that somebody wrote, or that an older page made.
    visit.open("?q=fox&sort=newest_indexed", ".meter")
    assert "sort" not in last_search(service)[1]
    visit.page.select_option("#sort", "oldest_taken")
    visit.search("")
    visit.until("location.search === '?sort=oldest_taken'")


def test_more_and_less_like_an_image(visit: Visit, service: FakeService) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.hover(".tile >> nth=0")
    visit.page.click(".tile >> nth=0 >> button[aria-label^='More like']")
    visit.page.wait_for_selector("#asked .like .shown")
    visit.page.hover(".tile >> nth=5")
    visit.page.click(".tile >> nth=5 >> button[aria-label^='Less like']")
    visit.page.wait_for_selector("#asked .unlike .shown")
    liked, unliked = made_up(0)["id"], made_up(5)["id"]
    visit.until("document.body.ariaBusy !== 'true'")
    method, _, body = last_search(service)
    assert (method, body) == ("POST", {"like": [{"text": "fox"}, {"id": liked}], "unlike": [{"id": unliked}]})
    visit.page.reload()
    visit.page.wait_for_selector("#asked .unlike .shown")
    visit.page.click("#asked .like .remove")
    visit.page.click("#asked .unlike .remove")
    visit.until("location.search === '?q=fox'")


def test_less_like_alone_says_what_it_needs(visit: Visit) -> None:
    visit.open(f"?unlike={made_up(1)['id']}")
    visit.says("#asked", "once there is something to look for")
    visit.says("#count", "40 images")


@pytest.mark.parametrize("how", ["chosen", "paste", "drop"])
def test_a_photo_is_searched_by(visit: Visit, service: FakeService, how: str) -> None:
    visit.open()
    if how == "chosen":
        visit.page.set_input_files("#photo-file", {"name": "mine.png", "mimeType": "image/png", "buffer": picture()})
    else:
        paste(visit, how)
    visit.page.wait_for_selector("#asked .pictured .shown")
    visit.page.wait_for_selector(".tile .meter")
    method, _, body = last_search(service)
    assert method == "POST"
    assert picture() in body, "a small photo is sent as it is"
    # With words beside it, and after a reload, which leaves a smaller copy.
    visit.search("at night")
    visit.until("location.search.includes('q=at+night')")
    visit.page.reload()
    visit.page.wait_for_selector("#asked .pictured .shown")
    visit.page.wait_for_selector(".tile .meter")
    body = last_search(service)[2]
    assert b"at night" in body
    assert b"\xff\xd8\xff" in body


def test_a_photo_that_is_pasted_over_an_image_closes_it(visit: Visit) -> None:
    visit.open(f"?q=fox#image={made_up(7)['id']}", "#details .large .shown")
    paste(visit, "paste")
    visit.page.wait_for_selector("#asked .pictured .shown")
    assert visit.page.locator("dialog[open]").count() == 0
    visit.until("location.hash === '' && location.search.includes('photo=')")


def test_a_large_photo_is_shrunk_before_it_travels(visit: Visit, service: FakeService) -> None:
    written = io.BytesIO()
    Image.effect_noise((2400, 1600), 90).convert("RGB").save(written, "JPEG", quality=95)
    assert len(written.getvalue()) > 1_500_000
    visit.open()
    file = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": written.getvalue()}
    visit.page.set_input_files("#photo-file", file)  # type: ignore[arg-type]
    visit.page.wait_for_selector(".tile .meter")
    body = last_search(service)[2]
    sent = Image.open(io.BytesIO(body[body.index(b"\xff\xd8\xff") :]))
    assert sent.size == (1024, 683)


def test_a_photo_of_somebody_elses_link_is_said_to_be_missing(visit: Visit) -> None:
    visit.open("?photo=gone1234", "#note")
    visit.says("#note", "Photos stay in the browser")
    visit.page.click("#note button")
    visit.says("#count", "40 images")


def test_what_is_near_a_duplicate_is_listed(visit: Visit, service: FakeService) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.click(".copies >> nth=0")
    visit.page.wait_for_selector(".near .film .shown")
    assert visit.texts("#near-title") == ["2 near-duplicates"]
    _, parameters, body = last_search(service)
    assert parameters["fold"] == "false"
    assert body == {"id": made_up(3)["id"]}
    assert visit.page.locator(".near .film li").count() == 2


def test_an_image_is_shown_with_all_that_is_known_of_it(visit: Visit, service: FakeService) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.click(".tile .open >> nth=1")
    visit.page.wait_for_selector("#details .large .shown")
    assert visit.address() == f"?q=fox#image={made_up(1)['id']}"
    details = visit.page.locator("#details")
    for text in ("IMG_00001.jpg", "Pixel 9", "240 × 320", "Looked at", "Cosine similarity 0.400", "red apple"):
        assert text in details.inner_text(), text
    original = details.locator("a:has-text('Original')")
    assert original.get_attribute("href") == f"{visit.url}v1/images/{made_up(1)['id']}/original"
    visit.page.keyboard.press("ArrowRight")
    visit.says("#details-title", "IMG_00002.jpg")
    visit.page.keyboard.press("Escape")
    visit.until("location.hash === ''")
    assert visit.page.evaluate("document.activeElement.closest('li').dataset.at") == "2", "where the person was"
    visit.page.go_forward()
    visit.says("#details-title", "IMG_00002.jpg")
    visit.page.click("#details button:has-text('More like this')")
    visit.until("location.search.includes('like=') && location.hash === ''")


def test_a_link_to_an_image_opens_it(visit: Visit) -> None:
    visit.open(f"#image={made_up(7)['id']}", "#details .large .shown")
    visit.says("#details-title", "IMG_00007.jpg")
    visit.page.keyboard.press("Escape")
    visit.until("location.hash === ''")
    visit.troubled = True
    visit.open("#image=00000000-0000-0000-0000-000000000000", "#details h2")
    visit.says("#details", "No image has the id 00000000-0000-0000-0000-000000000000.")


def test_the_histogram_narrows_to_a_time_and_shows_it_finer(visit: Visit, service: FakeService) -> None:
    visit.open()
    visit.page.wait_for_selector(".bar-of")
    bars = visit.page.locator(".bar-of")
    assert bars.first.get_attribute("aria-label") == "March 2021: 1 image"
    box = visit.page.locator(".bars").bounding_box()
    assert box is not None
    # Brush over the first two months.
    width = box["width"] / bars.count()
    visit.page.mouse.move(box["x"] + 2, box["y"] + 30)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + width * 1.5, box["y"] + 30)
    visit.page.mouse.up()
    visit.until("location.search === '?after=2021-03-01&before=2021-05-01'")
    visit.page.wait_for_selector(".bar-of[aria-label^='Mar 1, 2021']")
    assert "taken Mar 1, 2021 – Apr 30, 2021" in visit.texts("#asked .chip-text")
    assert visit.page.input_value("input[aria-label='To this day']") == "2021-04-30"
    expected = sum(made_up(number)["payload"]["taken_at"] < "2021-05" for number in range(40))
    visit.until("n => document.querySelectorAll('#grid .tile').length === n", expected)
    visit.page.click(".dates button:has-text('All dates')")
    visit.says("#count", "40 images")


def test_a_bar_is_chosen_with_the_keyboard(visit: Visit) -> None:
    visit.open()
    visit.page.wait_for_selector(".bar-of")
    visit.page.focus(".bar-of >> nth=0")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    visit.until("location.search === '?after=2021-04-01&before=2021-05-01'")
    visit.says("#asked", "taken April 2021")


def test_nothing_found_says_what_to_try(visit: Visit) -> None:
    visit.open("?q=nothing+at+all&tag=fox&good=1", "#note")
    visit.says("#note", "No image fits")
    assert visit.texts("#note button") == ["Show all matches", "Remove the filters", "Start over"]
    visit.page.click("#note button:has-text('Start over')")
    visit.says("#count", "40 images")


def test_an_empty_collection_says_what_to_do(browser: "Browser") -> None:
    with served(FakeService(0).app()) as server, visiting(browser, server.url) as visit:
        visit.open("", "#note h2")
        visit.says("#note", "Nothing is indexed yet")


def test_a_service_that_goes_away_is_waited_for(visit: Visit, server: Served) -> None:
    visit.open("?q=fox", ".meter")
    visit.troubled = True
    server.stop()
    visit.search("boat")
    visit.says("#banner", "Sightline does not answer.")
    server.start()
    visit.page.wait_for_selector("#banner", state="hidden")  # nobody presses anything
    visit.until("document.title.startsWith('boat') && document.querySelectorAll('.tile').length > 0")
    server.stop()
    visit.search("castle")
    visit.says("#banner", "Sightline does not answer.")
    server.start()
    visit.page.wait_for_selector("#banner", state="hidden")
    visit.page.wait_for_selector(".tile .shown")


def test_whoever_does_not_want_to_wait_tries_now(visit: Visit, service: FakeService) -> None:
    visit.troubled = True
    # Longer than this test has patience for.
    service.trouble = problem(429, "too-many", "Too much is asked.", "Wait a minute.", retry_after=60)
    visit.open("?q=fox", "#banner b")
    visit.says("#banner", "Sightline is busy. Too much is asked. Wait a minute.")
    service.trouble = None
    visit.page.click("#banner button")
    visit.page.wait_for_selector(".tile .shown")
    assert visit.page.is_hidden("#banner")


def test_a_service_that_starts_says_so(visit: Visit, service: FakeService) -> None:
    visit.troubled = True
    why = "pipeline is not ready: the model is being loaded."
    service.trouble = problem(503, "starting", why, "Try again in a moment.", retry_after=1)
    visit.open("?q=fox", "#banner b")
    visit.says("#banner", f"Sightline is starting. {why} Try again in a moment.")
    service.trouble = None
    visit.page.wait_for_selector(".tile .shown")
    assert visit.page.is_hidden("#banner")


def test_a_busy_service_is_waited_for(visit: Visit, service: FakeService) -> None:
    visit.troubled = True
    service.trouble = problem(429, "too-many", "Too much is asked.", "Wait a second.", retry_after=1)
    visit.open("?q=fox", "#banner b")
    visit.says("#banner", "Sightline is busy. Too much is asked. Wait a second.")
    service.trouble = None
    visit.page.wait_for_selector(".tile .shown")


def test_a_refusal_is_shown_as_text_and_never_as_html(visit: Visit, service: FakeService) -> None:
    visit.troubled = True
    visit.open()
    wrong = "<img src=x onerror=\"document.title='owned'\"> is no word"
    service.trouble = problem(422, "bad-parameter", wrong, "Use <b>other</b> words.")
    visit.search("fox")
    visit.says("#note h2", wrong)
    visit.says("#note p", "Use <b>other</b> words.")
    assert visit.page.locator("#note img, #note b").count() == 0


def test_names_from_files_are_text_too(browser: "Browser") -> None:
    service = FakeService(3)
    for one in service.images:
        one["key"] = one["payload"]["key"] = "<img src=x onerror=alert(1)>.jpg"
        one["payload"]["tags"] = [{"tag": "<script>alert(1)</script>", "score": 0.9}]
        one["payload"]["camera"] = "<svg onload=alert(1)>"
    service.reject("<script>alert(2)</script>", "decode_failed", "<iframe src=//example.org>")
    with served(service.app()) as server, visiting(browser, server.url) as visit:
        visit.open("?q=x")
        visit.page.click(".tile .open >> nth=0")
        visit.says("#details-title", "<img src=x onerror=alert(1)>.jpg")
        visit.page.keyboard.press("Escape")
        visit.until("location.hash === ''")
        visit.open("#operations", "tbody tr")
        visit.says("tbody", "<iframe src=//example.org>")
        assert visit.page.locator("main iframe, main script, img[src='x']").count() == 0


def test_a_key_is_asked_for_kept_in_the_tab_and_sent(visit: Visit, service: FakeService) -> None:
    service.key = "slk_right"
    visit.troubled = True
    visit.open("", "#ask-key form")
    visit.page.fill("#key-field", "slk_wrong")
    visit.page.keyboard.press("Enter")
    visit.says("#key-why", "That key was not accepted.")
    visit.page.fill("#key-field", "slk_right")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".tile .shown")  # thumbnails come with the key too
    assert visit.page.evaluate("[document.cookie, JSON.stringify({...localStorage})]") == ["", "{}"]
    visit.page.reload()
    visit.page.wait_for_selector(".tile .shown")
    assert "slk_right" not in visit.page.content()
    with visit.page.expect_download() as download:
        visit.page.click(".tile .open >> nth=0")
        visit.page.click("#details a:has-text('Original')")
    assert download.value.path().read_bytes().startswith(b"the bytes of")


@pytest.mark.parametrize("key", [None, "slk_right"])
def test_an_original_in_a_bucket_of_another_origin_opens_in_a_tab_with_a_key_and_without(
    visit: Visit, service: FakeService, key: str | None
) -> None:
    with served(bucket()) as store:
        service.store, service.key = store.url, key
        visit.troubled = key is not None
        visit.open("", "#ask-key form" if key else ".tile .shown")
        if key:
            visit.page.fill("#key-field", key)
            visit.page.keyboard.press("Enter")
        visit.page.click(".tile .open >> nth=0")
        with visit.page.context.expect_page() as opened:
            visit.page.click("#details a:has-text('Original')")
        shown = made_up(0)["id"]
        opened.value.wait_for_url(f"{store.url}{shown}.jpg?X-Amz-Signature=abc")
        assert opened.value.inner_text("body") == f"the store's bytes of {shown}.jpg"
        assert visit.texts("#details [role=alert]") == [""]


def test_whoever_gives_no_key_is_not_asked_again_and_again(visit: Visit, service: FakeService) -> None:
    service.key = "slk_right"
    visit.troubled = True
    visit.open("", "#ask-key form")
    visit.page.keyboard.press("Escape")
    visit.says("#note", "A key is needed")
    visit.search("fox")
    visit.says("#note", "A key is needed")
    assert visit.page.locator("dialog[open]").count() == 0
    visit.page.click("#note button")
    visit.page.fill("#key-field", "slk_right")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".tile .shown")


def test_what_was_just_indexed_shows_by_itself(visit: Visit, service: FakeService) -> None:
    visit.open("", ".film .shown")
    newest = made_up(999)
    newest["payload"]["indexed_at"] = "2026-01-01T00:00:00+00:00"
    service.images.insert(0, newest)
    visit.page.wait_for_selector(".film .new")
    label = visit.page.locator(".film button").first.get_attribute("aria-label")
    assert label == "Open IMG_00999.jpg"
    visit.search("fox")
    visit.page.wait_for_selector("#strip", state="hidden")


def test_a_hidden_page_asks_nothing(visit: Visit, service: FakeService) -> None:
    visit.page.clock.install()
    visit.open("", ".film .shown")
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    visit.page.evaluate(hide, True)
    service.asked.clear()
    visit.page.clock.fast_forward(60_000)
    visit.page.clock.run_for(20_000)
    assert [one for one in service.asked if one[1] == "/v1/images"] == []
    with visit.page.expect_response(lambda response: "newest_indexed" in response.url):
        visit.page.evaluate(hide, False)


def test_operations_show_counts_what_is_waited_for_and_failures(visit: Visit, service: FakeService) -> None:
    service.reject("a/broken.jpg", "decode_failed", "the file ends early")
    other = service.reject("a/page.jpg", "not_an_image", "it looks like an HTML page")
    visit.open("#operations", "tbody tr")
    numbers = visit.page.locator(".numbers").inner_text().split()
    assert numbers == ["Indexed", "40", "Waiting", "12", "Rejected", "2", "Gone", "3"]
    visit.says(".waits", "s3: the endpoint does not answer")
    visit.says(".failures", "it looks like an HTML page")
    assert visit.texts(".failures .chip") == ["decode failed\n1", "not an image\n1"]
    visit.page.click("button[aria-label='Look again at a/page.jpg']")
    visit.says("tr:has-text('a/page.jpg')", "It will be looked at again.")
    assert service.retried == [other]
    visit.page.click("button:has-text('Look again at all 2')")
    visit.says(".failures", "2 files will be looked at again.")
    visit.page.click("button.key:has-text('a/broken.jpg')")
    visit.says("#details", "decode failed: the file ends early")


def test_operations_say_that_all_is_well_only_where_that_is_known(visit: Visit, service: FakeService) -> None:
    service.waiting_for, service.waiting = [], 0
    visit.open("#operations", ".well")
    visit.says("#operations", "Nothing waits")
    service.runs, service.waiting = ["search"], None
    visit.says("#operations", "the dashboards show it")
    assert visit.page.locator(".well").count() == 0
    assert visit.texts(".numbers dd")[1] == "–"
    visit.page.evaluate("document.querySelector('#state-title').dataset.spoken = 'once'")
    service.waiting = 7
    visit.until("document.querySelectorAll('.numbers dd')[1].textContent === '7'")
    assert visit.page.get_attribute("#state-title", "data-spoken") == "once"


def test_throughput_is_counted_between_polls(visit: Visit, service: FakeService) -> None:
    visit.open("#operations", ".spark i")
    service.images += [made_up(number) for number in range(40, 140)]
    visit.until("parseFloat(document.querySelector('.big').textContent) > 5")
    visit.says(".numbers", "140")
    visit.says("#operations", "until all that waits is indexed")


def test_whoever_may_not_retry_is_offered_no_button(visit: Visit, service: FakeService) -> None:
    service.scopes = ("search",)
    service.reject("a/broken.jpg", "decode_failed", "the file ends early")
    visit.open("#operations", "tbody tr")
    visit.says(".failures", "use a key with the scope admin")
    assert visit.page.locator("button:has-text('Look again'):visible").count() == 0


def test_the_theme_is_the_systems_until_another_is_chosen(browser: "Browser", server: Served) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, server.url, color_scheme="dark") as visit:
        visit.open()
        assert visit.page.evaluate(ground) == "rgb(21, 24, 27)"
        visit.page.click("#theme")
        assert visit.page.evaluate(ground) == "rgb(251, 251, 249)"
        visit.page.reload()
        assert visit.page.evaluate(ground) == "rgb(251, 251, 249)"
        assert visit.page.get_attribute("#theme", "aria-label") == "Theme: light. Change to dark"


def test_without_thumbnails_places_are_kept(visit: Visit, service: FakeService) -> None:
    visit.troubled = True
    service.no_thumbnails = True
    visit.open("", ".tile .thumb .i-picture")
    shift = """new Promise((resolve) => new PerformanceObserver((list) => resolve(list.getEntries()
        .reduce((sum, entry) => sum + entry.value, 0))).observe({ type: "layout-shift", buffered: true }))"""
    moved = visit.page.evaluate(f"Promise.race([{shift}, new Promise((resolve) => setTimeout(resolve, 500, 0))])")
    assert moved < 0.1
    heights = visit.page.eval_on_selector_all(".tile .open", "all => all.map((one) => one.offsetHeight)")
    assert min(heights) > 100


def test_the_page_works_behind_a_path_prefix(browser: "Browser", service: FakeService) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    gateway = Starlette(routes=[Mount("/photos", service.app())])
    with served(gateway) as server, visiting(browser, f"{server.url}photos/") as visit:
        visit.open("?q=fox", ".meter")
        visit.page.click(".tile .open >> nth=0")
        visit.page.wait_for_selector("#details .large .shown")
        visit.page.keyboard.press("Escape")
        visit.until("location.hash === ''")
        visit.open("#operations", ".numbers dd")


@pytest.mark.parametrize("path", ["", "?q=fox", "#operations"])
def test_nothing_is_wider_than_a_phone(browser: "Browser", server: Served, service: FakeService, path: str) -> None:
    service.reject("a/" + "very_long_name_" * 12 + ".jpg", "decode_failed", "the file ends early " * 9)
    with visiting(browser, server.url, **PHONE) as visit:
        visit.open(path, "tbody tr" if path == "#operations" else ".tile .shown")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        if not path.startswith("#"):
            visit.page.tap("#show-filters")
            visit.page.tap(".group button.chip:has-text('fox')")
            visit.page.tap(".close-filters")
            visit.says("#asked", "fox")
            visit.page.tap(".tile .open >> nth=0")
            visit.page.wait_for_selector("#details .large .shown")
            assert visit.page.evaluate("document.querySelector('#details').scrollWidth") <= 390


def test_another_language_is_one_more_file(browser: "Browser", server: Served) -> None:
    with visiting(browser, server.url, locale="eo-XX") as visit:
        page = visit.page
        page.route(
            visit.url,
            lambda route: route.fulfill(
                response=(answer := route.fetch()),
                body=answer.text().replace('data-languages="en"', 'data-languages="en eo"'),
            ),
        )
        page.route("**/texts/eo.json", lambda route: route.fulfill(json={"box.go": "Serĉi"}))
        visit.open()
        visit.says(".go >> nth=0", "Serĉi")
        assert page.evaluate("document.documentElement.lang") == "eo"
        assert page.get_attribute("#words", "placeholder") == "Describe a picture, or drop a photo", "English else"
