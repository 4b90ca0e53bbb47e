"""Click through the explorer as a reader would; run by an interpreter that has playwright.

Arguments: the browser's path, the node's URL, a txid of the tip, an address that it pays. Prints
what it saw, one line a step, and `waiting HEIGHT` when a new block may come.
"""

import sys

from playwright.sync_api import sync_playwright

browser_path, url, txid, address = sys.argv[1:]
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
HIGH_CELLS = "[...document.querySelectorAll('td')].filter(cell => cell.offsetHeight > 150).length"
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]


def say(*words):
    print(*words, flush=True)


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=browser_path, args=QUIET)
    page = browser.new_page()
    troubles = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(url) else troubles.append(r.url))

    page.goto(url)
    tip = int(page.locator("tbody tr td a").first.inner_text())
    say("home", page.title())
    page.locator("tbody tr").first.locator("a.id").click()
    page.wait_for_url("**/block/*")
    say("block", page.locator("h1").inner_text())
    page.locator(f"a[href='/tx/{txid}']").first.click()
    page.wait_for_url("**/tx/*")
    say("transaction", page.locator("h1").inner_text())
    page.locator(f"a[href='/address/{address}']").first.click()
    page.wait_for_url("**/address/*")
    say("address", page.locator("h1").inner_text())
    page.get_by_role("link", name="Mempool", exact=True).click()
    page.wait_for_url("**/mempool")
    say("mempool", page.locator("h1").inner_text())
    page.get_by_role("searchbox").fill(str(tip))
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/block/*")
    say("found", page.locator("h1").inner_text())

    page.get_by_role("link", name="API", exact=True).first.click()
    page.wait_for_url("**/docs")
    say("docs", page.locator("h1").inner_text())
    page.goto(f"{url}/peers")
    say("peers", page.locator("h1").inner_text())

    page.set_viewport_size({"width": 375, "height": 700})
    page.goto(f"{url}/docs")
    say("narrow", page.evaluate(TOO_WIDE), page.evaluate(HIGH_CELLS))

    page.goto(url)
    page.evaluate("window.mark = 'the same page'")
    page.evaluate("document.querySelector('.scroll').scrollLeft = 50")
    say("waiting", tip)
    page.wait_for_selector(f"tbody a[href='/block/{tip + 1}']")
    say("appeared", page.evaluate("window.mark"))
    say("scrolled", page.evaluate("document.querySelector('.scroll').scrollLeft"))
    browser.close()
    say("troubles", troubles)
