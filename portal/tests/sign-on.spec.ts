// Single sign-on in a browser, at a provider that somebody else wrote: who comes back from there is in.
import { expect, type Page, test } from "@playwright/test";
import { accessible, complaints } from "./scene";

/** As the provider was told by crates/cli/tests/it/portal.rs. */
const SUBJECT = "4711";
const NAME = "alice";

async function leave(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Single sign-on" }).click();
  await expect(page.getByRole("heading", { name: "Authorize Client" })).toBeVisible();
}

test("somebody comes in by single sign-on, to where they wanted to go", async ({ page }) => {
  // Its page wants a style sheet of the internet's, for which a test does not wait.
  await page.route(/cdn\.jsdelivr\.net/, (route) => route.abort());
  await page.goto("/jobs?kind=backup");
  await expect(page.getByRole("button", { name: "Single sign-on" })).toBeVisible();
  await accessible(page);
  await leave(page);
  await page.locator('input[name="sub"]').fill(SUBJECT);
  await page.getByRole("button", { name: "Authorize" }).click();
  await expect(page.getByRole("heading", { name: "Jobs", level: 1 })).toBeVisible();
  await expect(page).toHaveURL(/\/jobs\?kind=backup$/);
  await expect(page.getByRole("button", { name: `Account of ${NAME}` })).toBeVisible();
  // What the groups give is what is offered: an operator makes no vaults.
  const heard = complaints(page);
  await page.getByRole("link", { name: "Vaults" }).click();
  await expect(page.getByText("No vault yet")).toBeVisible();
  await expect(page.getByRole("button", { name: "Make a vault" })).toBeHidden();
  await expect(page.getByRole("link", { name: "Audit" })).toBeHidden();
  expect(heard).toEqual([]);

  // The code in the address that somebody came back with is good once, and to this tab alone.
  await page.getByRole("button", { name: `Account of ${NAME}` }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.goto("/sign-in?code=stolen&state=stolen");
  await expect(page.getByRole("alert")).toContainText("did not begin the sign-in");
});
