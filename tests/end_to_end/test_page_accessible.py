"""The page with a keyboard alone, with a screen reader, and for eyes that need contrast."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.browsing import PHONE, Visit, visiting
from tests.end_to_end.fake_service import FakeService, Served, made_up, problem

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VIEWS = {
    "listing": ("", ".tile .shown"),
    "results": (f"?q=fox&tag=drawing&like={made_up(3)['id']}&good=1", ".meter"),
    "nothing": ("?q=nothing+at+all", "#note h2"),
    "details": (f"?q=fox#image={made_up(1)['id']}", "#details .timeline li"),
    "operations": ("#operations", "tbody tr"),
}

NAMELESS = """() => {
    const nameOf = (one) => {
        const by = one.getAttribute("aria-labelledby");
        if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ");
        const label = one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent;
        return label ?? one.textContent;
    };
    const controls = "a[href], button, input:not([hidden]), select, [tabindex='0'], [role=switch]";
    return [...document.querySelectorAll(controls)]
        .filter((one) => one.checkVisibility() && !nameOf(one).trim() && !one.closest("[aria-hidden=true]"))
        .map((one) => one.outerHTML.slice(0, 200));
}"""

PALE = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const parse = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = "#0000";
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return { r, g, b, a: a / 255 };
    };
    const over = (top, under) => {
        const mix = (one, other) => one * top.a + other * (1 - top.a);
        return { r: mix(top.r, under.r), g: mix(top.g, under.g), b: mix(top.b, under.b), a: 1 };
    };
    const ground = (element) => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour.a > 0) layers.push(colour);
            if (colour.a === 1) break;
        }
        return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
    };
    const light = ({ r, g, b }) => {
        const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const pale = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.data.trim();
        if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (element.closest("script, style, noscript, option, :disabled, .unseen")) continue;
        if (element.getClientRects().length === 0) continue;
        const style = getComputedStyle(element);
        const under = ground(element);
        const [one, other] = [light(over(parse(style.color), under)), light(under)].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        const size = parseFloat(style.fontSize);
        const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
        if (contrast < least) pale.push(`${contrast.toFixed(2)} ${element.className} ${text.slice(0, 40)}`);
    }
    return pale;
}"""

SMALL = """() => [...document.querySelectorAll("a[href], button, input, select")]
    .filter((one) => one.checkVisibility({ opacityProperty: true }))
    .filter((one) => !one.closest(".unseen, .bars, p, [aria-hidden=true]") && !one.matches(".skip, .switch input"))
    .map((one) => [one, one.getBoundingClientRect()])
    .filter(([, box]) => box.width && (box.width < 24 || box.height < 24))
    .map(([one, box]) => `${box.width}x${box.height} ${one.outerHTML.slice(0, 120)}`)"""


@pytest.fixture
def service() -> FakeService:
    made = FakeService()
    made.reject("a/broken.jpg", "decode_failed", "the file ends early")
    return made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_text_stands_out_and_every_control_has_a_name(
    browser: "Browser", server: Served, view: str, scheme: Any
) -> None:
    path, ready = VIEWS[view]
    with visiting(browser, server.url, color_scheme=scheme, reduced_motion="reduce") as visit:
        visit.open(path, ready)
        visit.page.wait_for_timeout(400)
        assert visit.page.evaluate(NAMELESS) == []
        assert visit.page.evaluate(PALE) == []


@pytest.mark.parametrize("view", VIEWS)
def test_controls_are_large_enough_for_a_thumb(browser: "Browser", server: Served, view: str) -> None:
    path, ready = VIEWS[view]
    with visiting(browser, server.url, **PHONE) as visit:
        visit.open(path, ready)
        assert visit.page.evaluate(SMALL) == []


def test_the_checks_see_what_is_wrong(visit: Visit) -> None:
    visit.open()
    visit.page.evaluate(
        """() => {
            const pale = document.createElement("p");
            pale.textContent = "hardly there";
            pale.style.color = "#aaa";
            const button = document.createElement("button");
            button.style.width = button.style.height = "20px";
            document.querySelector(".found").append(pale, button);
        }"""
    )
    assert len(visit.page.evaluate(PALE)) == 1
    assert len(visit.page.evaluate(NAMELESS)) == 1
    assert len(visit.page.evaluate(SMALL)) == 1


def test_there_are_landmarks_one_heading_and_a_way_past_the_filters(visit: Visit) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.wait_for_selector("#filters")
    for landmark in ("banner", "search", "navigation", "main", "complementary", "contentinfo"):
        assert visit.page.get_by_role(landmark).count() == 1, landmark
    assert visit.page.get_by_role("heading", level=1).all_inner_texts() == ["Images found"]
    assert visit.page.get_attribute("html", "lang") == "en"
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the results"
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "open"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_one_heading_of_the_first_level(visit: Visit, view: str) -> None:
    path, ready = VIEWS[view]
    visit.open(path, ready)
    visit.page.keyboard.press("Escape")
    assert visit.page.get_by_role("heading", level=1).count() == 1


def test_the_dialog_of_an_image_has_a_name_while_it_waits_and_when_it_is_refused(
    visit: Visit, service: FakeService
) -> None:
    visit.troubled = True
    service.trouble = problem(503, "starting", "the model is being loaded.", "Try again.", retry_after=1)
    visit.open("#image=00000000-0000-0000-0000-000000000000", "#details p")
    assert visit.page.get_by_role("dialog", name="One moment …").count() == 1
    service.trouble = None
    visit.page.get_by_role("dialog", name="This image cannot be shown").wait_for()


def test_the_number_of_results_is_announced_once(visit: Visit) -> None:
    visit.open()
    visit.says("#count", "40 images")
    live = visit.page.locator("#count")
    assert (live.get_attribute("role"), live.get_attribute("aria-live")) == ("status", "polite")
    visit.page.evaluate(
        """() => {
            window.heard = [];
            const count = document.querySelector("#count");
            new MutationObserver(() => window.heard.push(count.textContent)).observe(count, { childList: true });
        }"""
    )
    visit.search("fox")
    visit.page.wait_for_selector(".meter")
    visit.page.wait_for_timeout(200)
    assert visit.page.evaluate("window.heard")[-1].startswith("40 images")
    assert len(visit.page.evaluate("window.heard")) <= 2


def focused(visit: Visit) -> str:
    at = visit.page.evaluate("document.activeElement.closest('li')?.dataset.at ?? ''")
    return str(at)


def test_everything_can_be_done_with_the_keyboard(visit: Visit, service: FakeService) -> None:
    keyboard = visit.page.keyboard
    visit.open()
    keyboard.press("/")
    keyboard.type("fox")
    keyboard.press("Enter")
    visit.page.wait_for_selector(".meter")
    keyboard.press("ArrowDown")
    assert focused(visit) == "0"
    keyboard.press("ArrowRight")
    assert focused(visit) == "1"
    first = visit.page.evaluate("document.activeElement.getBoundingClientRect().top")
    keyboard.press("ArrowDown")
    below = int(focused(visit))
    assert below > 1
    assert visit.page.evaluate("document.activeElement.getBoundingClientRect().top") != first
    keyboard.press("ArrowUp")
    assert focused(visit) == "1"
    keyboard.press("End")
    assert focused(visit) == "39"
    visible = """() => { const box = document.activeElement.getBoundingClientRect();
        return box.top >= document.querySelector(".top").offsetHeight && box.bottom <= innerHeight; }"""
    assert visit.page.evaluate(visible), "what has the focus is seen"
    keyboard.press("Home")
    assert visit.page.evaluate(visible)
    keyboard.press("Enter")
    visit.says("#details-title", "IMG_00000.jpg")
    for _ in range(40):  # the dialog keeps the focus
        keyboard.press("Tab")
        assert visit.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    keyboard.press("Escape")
    visit.until("!document.querySelector('dialog[open]')")
    visit.until("!location.hash && document.activeElement.closest('li')?.dataset.at === '0'")
    # From a tile Tab leads to what can be done with it, and no further tile.
    keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.ariaLabel") == "More like IMG_00000.jpg"
    keyboard.press("Shift+Tab")
    assert visit.page.evaluate("document.activeElement.className") == "open"
    keyboard.press("+")
    visit.page.wait_for_selector("#asked .like")
    visit.until("document.body.ariaBusy !== 'true'")
    visit.until("document.activeElement.closest('li')?.dataset.at === '0'")
    keyboard.press("ArrowRight")
    keyboard.press("-")
    visit.page.wait_for_selector("#asked .unlike")
    assert made_up(1)["id"] in visit.address()
    visit.until("document.body.ariaBusy !== 'true' && document.activeElement.closest('li')")
    keyboard.press("Escape")
    assert visit.page.evaluate("document.activeElement.id") == "words"


def test_what_is_asked_while_the_browser_goes_back_from_an_image_is_not_undone(visit: Visit) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.click(".tile .open >> nth=0")
    visit.says("#details-title", "IMG_00000.jpg")
    visit.page.evaluate(
        """() => document.querySelector("dialog").addEventListener("close", () => {
            const tile = document.querySelector("#grid li");
            for (const key of ["+", "+"]) tile.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        })"""
    )
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector("#asked .like")
    visit.page.wait_for_timeout(300)
    assert visit.page.locator("#asked .like").count() == 1
    assert made_up(0)["id"] in visit.address()
    visit.page.go_back()
    visit.until("!location.search.includes('like')")
    assert "q=fox" in visit.address()


def test_a_filter_keeps_the_focus_when_its_counts_change(visit: Visit) -> None:
    visit.open()
    visit.page.wait_for_selector(".group button.chip >> nth=2")
    visit.page.focus(".group button.chip >> nth=2")
    pressed = visit.page.evaluate("document.activeElement.dataset.value")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#asked .chip")
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("document.activeElement.dataset.value") == pressed
    assert visit.page.evaluate("document.activeElement.ariaPressed") == "true"


def test_the_focus_goes_on_where_what_had_it_is_taken_away(visit: Visit) -> None:
    keyboard = visit.page.keyboard
    visit.open("?tag=fox&tag=drawing")
    visit.page.focus("#asked .remove >> nth=0")
    keyboard.press("Enter")
    visit.until("document.activeElement.ariaLabel === 'Remove: drawing'")
    keyboard.press("Enter")
    visit.until("document.activeElement.id === 'results'")
    visit.page.wait_for_selector(".bar-of")
    visit.page.focus(".bar-of >> nth=0")
    keyboard.press("Enter")
    visit.page.wait_for_selector(".bar-of[aria-label^='Mar 1, 2021']")
    assert visit.page.evaluate("document.activeElement.className") == "bar-of"
    visit.page.focus(".dates button:has-text('All dates')")
    keyboard.press("Enter")
    visit.until("document.activeElement.className === 'bar-of'")


def test_an_open_image_leaves_the_keys_of_the_browser_to_it(visit: Visit) -> None:
    visit.open("#operations", "tbody tr")
    visit.page.click("button.key:has-text('a/broken.jpg')")
    visit.says("#details-title", "broken.jpg")
    visit.page.keyboard.press("+")
    assert visit.page.locator("dialog[open]").count() == 1, "nothing is like a file that could not be used"
    visit.open(f"?q=fox#image={made_up(1)['id']}", "#details .large .shown")
    for keys in ("Control++", "Control+-", "Alt+ArrowDown", "Meta+ArrowRight"):
        visit.page.keyboard.press(keys)
    assert visit.texts("#details-title") == ["IMG_00001.jpg"]
    visit.page.keyboard.press("+")
    visit.page.wait_for_selector("#asked .like")


def test_filters_that_cover_the_page_keep_the_focus(browser: "Browser", server: Served) -> None:
    with visiting(browser, server.url, viewport={"width": 800, "height": 700}) as visit:
        visit.open()
        visit.page.wait_for_selector(".group button.chip", state="attached")
        visit.page.click("#show-filters")
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            within = "document.activeElement === document.body || !!document.activeElement.closest('#filters')"
            assert visit.page.evaluate(within)
        visit.page.keyboard.press("Escape")
        assert visit.page.evaluate("document.activeElement.id") == "show-filters"
        visit.page.click("#show-filters")
        visit.page.set_viewport_size({"width": 1360, "height": 860})
        visit.until("!document.querySelector('[inert]')")
        visit.page.click("#words")


def test_the_focus_is_always_seen(visit: Visit) -> None:
    visit.open("?q=fox", ".meter")
    visit.page.wait_for_selector("#filters:not(.first)")
    unseen = []
    for _ in range(30):
        visit.page.keyboard.press("Tab")
        outline = """() => {
            const one = document.activeElement;
            const shown = (element, pseudo) => parseFloat(getComputedStyle(element, pseudo).outlineWidth) > 0
                && getComputedStyle(element).outlineStyle !== "none";
            const wrapped = one.closest(".box") && getComputedStyle(one.closest(".box")).boxShadow !== "none";
            return shown(one) || wrapped || (one.nextElementSibling && shown(one.nextElementSibling)) || one.outerHTML;
        }"""
        answer = visit.page.evaluate(outline)
        if answer is not True:
            unseen.append(answer)
    assert unseen == []


def test_nothing_moves_for_those_who_asked_for_that(browser: "Browser", server: Served) -> None:
    with visiting(browser, server.url, reduced_motion="reduce") as visit:
        visit.open("?q=fox", ".meter")
        moving = """[...document.querySelectorAll("*")].filter((one) => {
            const style = getComputedStyle(one);
            return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
        }).length"""
        assert visit.page.evaluate(moving) == 0
