// What the tests are told by whoever started them, and what all of them do.
import { AxeBuilder } from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";

export function told(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by crates/cli/tests/it/portal.rs`);
  return value;
}

export async function signIn(page: Page, to = "/"): Promise<void> {
  await page.goto(to);
  await page.getByLabel("Name").fill("admin");
  await page.getByLabel("Password").fill(told("PORTAL_PASSWORD"));
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("navigation", { name: "Pages" })).toBeVisible();
}

/** Whatever the browser refused or complained of. A page that breaks its own policy is a defect. */
export function complaints(page: Page): string[] {
  const heard: string[] = [];
  page.on("pageerror", (error) => heard.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") heard.push(message.text());
  });
  return heard;
}

/** What axe finds that is serious: nothing. */
export async function accessible(page: Page): Promise<void> {
  // Fluent's keyboard traps begin and end with elements that give focus away at once; nobody ever stands on them.
  const found = await new AxeBuilder({ page }).exclude("[data-tabster-dummy]").withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]).analyze();
  const serious = found.violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  const words = serious.map((one) => `${one.id}: ${one.help}\n${one.nodes.map((node) => `  ${node.html}\n  ${node.failureSummary}`).join("\n")}`);
  expect.soft(words, `${page.url()} is for everybody`).toEqual([]);
}

/** The token of whoever signed in, to ask the API as the page does. */
export async function token(page: Page): Promise<string> {
  return page.evaluate(() => sessionStorage.getItem("strongroom.token") ?? localStorage.getItem("strongroom.token") ?? "");
}
