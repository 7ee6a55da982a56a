// Opens a page in a real browser and tells, as JSON, what a person there would have seen.
//
//   node loading.mjs URL TITLE [noscript]
//
// Says what the first page is as soon as it is shown, one line, and everything else once the page's
// title is TITLE. Fails when that takes more than a minute.
import { chromium } from "playwright-core";

const TITLE_MAX_MS = 60_000;
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // The names of the stories lead to this machine, whatever its resolver thinks.
  "--host-resolver-rules=MAP *.test 127.0.0.1",
];

const [url, title, scripts] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  args: FLAGS,
});
try {
  const context = await browser.newContext({ javaScriptEnabled: scripts !== "noscript" });
  await visit(await context.newPage());
} finally {
  await browser.close();
}

async function visit(page) {
  const seen = { pages: [], requests: [], complaints: [], steps: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("response", (response) => {
    if (response.request().isNavigationRequest()) seen.pages.push(response.status());
  });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.exposeFunction("tellStep", (step) => seen.steps.push(step));
  await page.addInitScript(tellSteps);

  await page.goto(url, { waitUntil: "domcontentloaded" });
  const heading = await page.locator("h1").textContent();
  say({ title: await page.title(), heading });
  const until = Date.now() + TITLE_MAX_MS;
  // A page that is being left has no title.
  while ((await page.title().catch(() => "")) !== title) {
    if (Date.now() > until) throw new Error(`still ${JSON.stringify(seen)}`);
    await page.waitForTimeout(50);
  }
  seen.text = (await page.locator("body").textContent()).trim();
  say(seen);
}

// Runs in the page: tells each line of progress as it appears.
function tellSteps() {
  const look = (changes) => {
    for (const { target, addedNodes } of changes) {
      if (target.id !== "steps") continue;
      for (const line of addedNodes) window.tellStep(line.textContent);
    }
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
}

function say(what) {
  console.log(JSON.stringify(what));
}
