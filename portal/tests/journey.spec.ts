// From a server that nobody has used yet to a file that somebody needed, as a person goes.
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { expect, type Page, test } from "@playwright/test";
import { complaints, signIn, told } from "./scene";

test.describe.configure({ mode: "serial" });

const machine = () => told("PORTAL_MACHINE");
const folder = () => told("PORTAL_FOLDER");

let page: Page;
let heard: string[];
test.beforeAll(async ({ browser }) => {
  page = await browser.newPage();
  heard = complaints(page);
});
test.afterEach(() => {
  // A refused password, and what is under way already, are errors that belong there.
  expect(heard.filter((one) => !/\b(401|409)\b/.test(one)), "nothing broke, and the page kept to its policy").toEqual([]);
});
test.afterAll(async () => page.close());

test("somebody signs in, and is told when the password is wrong", async () => {
  await page.goto("/machines");
  await expect(page).toHaveURL(/\/sign-in\?to=%2Fmachines/);
  await page.getByLabel("Name").fill("admin");
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("Password").fill(told("PORTAL_PASSWORD"));
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "Machines", level: 1 })).toBeVisible();
  await expect(page.getByText("No host is known")).toBeVisible();
});

test("a host is added, and a vault made whose keys are shown once", async () => {
  await page.getByRole("link", { name: "Strongroom, overview" }).click();
  await expect(page.getByText("First steps")).toBeVisible();
  await page.getByRole("button", { name: "Add a host" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("here");
  await page.getByRole("dialog").getByRole("button", { name: "Add" }).click();
  await expect(page.getByRole("cell", { name: "here", exact: true })).toBeVisible();

  await page.getByRole("link", { name: "Vaults" }).click();
  await page.getByRole("button", { name: "Make a vault" }).first().click();
  await page.getByRole("textbox", { name: "Where" }).fill(`${folder()}/portal-vault`);
  await page.getByRole("button", { name: "Make it" }).click();
  await expect(page.getByRole("heading", { name: "Keep these keys" })).toBeVisible();
  const on = page.getByRole("button", { name: "Protect machines" });
  await expect(on).toBeDisabled();
  await page.getByLabel("I have kept them elsewhere").check();
  await on.click();
});

test("the machine is protected, by a policy whose year is shown", async () => {
  await expect(page.getByRole("heading", { name: "Protect machines" })).toBeVisible();
  await page.getByLabel("Search machines").fill(machine());
  await page.getByLabel(machine()).check();
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByRole("img", { name: /A year of points: .* daily/ })).toBeVisible();
  await page.getByLabel("Months").fill("12");
  await expect(page.getByRole("img", { name: /monthly/ })).toBeVisible();
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("backed up into main")).toBeVisible();
  await page.getByRole("button", { name: "Protect 1 machine" }).click();
  await expect(page.getByRole("heading", { name: "1 machine protected" })).toBeVisible();
  await page.getByRole("link", { name: machine() }).click();
});

test("its first backup is watched to its end, and another one made", async () => {
  await expect(page.getByRole("radio", { name: /consistent/ })).toHaveCount(1, { timeout: 180_000 });
  await page.getByRole("button", { name: "Back up now" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Back up" }).click();
  await page.getByRole("button", { name: "Show" }).last().click();
  await expect(page.getByRole("heading", { name: `Backup: ${machine()}` })).toBeVisible();
  await expect(page.getByRole("list", { name: "Steps" }).getByText("Take snapshot")).toBeVisible();
  await expect(page.locator(".page-title").getByText(/Completed/)).toBeVisible({ timeout: 180_000 });
  await page.locator(".facts").getByRole("link", { name: machine() }).click();
  await expect(page.getByRole("radio", { name: /consistent/ })).toHaveCount(2);
});

test("the arrow keys lead along the timeline", async () => {
  const marks = page.getByRole("radio", { name: /consistent/ });
  const chosen = page.locator('.timeline [role="radio"][aria-checked="true"]');
  await chosen.focus();
  const before = await chosen.getAttribute("data-point");
  await page.keyboard.press("ArrowLeft");
  await expect(chosen).not.toHaveAttribute("data-point", before ?? "");
  await expect(chosen).toBeFocused();
  await page.keyboard.press("End");
  await expect(chosen).toHaveAttribute("data-point", before ?? "");
  await expect(marks).toHaveCount(2);
});

test("a file that was lost is found and downloaded", async () => {
  await page.getByRole("button", { name: "Files" }).click();
  const search = page.getByLabel("Find files by name");
  await expect(page.getByRole("columnheader", { name: "Volume" })).toBeVisible({ timeout: 120_000 });
  await search.fill("lost-*.txt");
  await search.press("Enter");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: /Download .*lost-letter\.txt/ }).click();
  const saved = await download;
  expect(saved.suggestedFilename()).toBe("lost-letter.txt");
  expect(readFileSync(await saved.path(), "utf8")).toBe("dear reader\n");
  await expect(page.getByText(/^saved, 12 B/)).toBeVisible();
});

test("a folder is written to a file as it comes", async () => {
  // The dialog is the browser's own, which nobody can press here: it is answered with a file that the page may have.
  await page.evaluate(() => {
    window.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
  });
  const search = page.getByLabel("Find files by name");
  await search.fill("");
  await search.press("Enter");
  await page.getByRole("cell").getByRole("button").first().click();
  await page.getByRole("button", { name: "Download this folder as zip" }).click();
  // The file of before is listed, too.
  await expect(page.getByText(/^saved, /)).toHaveCount(2);
  const begins = await page.evaluate(async () => {
    for await (const [, file] of await navigator.storage.getDirectory() as unknown as AsyncIterable<[string, FileSystemFileHandle]>) {
      return new TextDecoder().decode(await (await file.getFile()).slice(0, 2).arrayBuffer());
    }
    return "";
  });
  expect(begins).toBe("PK");
});

test("the machine is restored at once, beside the old one", async () => {
  await page.getByRole("navigation", { name: "Above this page" }).getByRole("link", { name: machine() }).click();
  await page.getByRole("button", { name: "Restore this point" }).click();
  await page.getByRole("radio", { name: /A new machine, at once/ }).check();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel("Folder on the mover's host").fill(`${folder()}/twin`);
  await page.getByLabel("Name of the new machine").fill(`${machine()}-twin`);
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("It is started at once")).toBeVisible();
  await expect(page.getByText(`${machine()} itself is not touched`)).toBeVisible();
  await page.getByRole("button", { name: "Restore", exact: true }).click();
  await expect(page.getByRole("heading", { name: "It is restored" })).toBeVisible({ timeout: 230_000 });
});

test("a point is deleted with its name typed, and brought back", async () => {
  await page.getByRole("link", { name: `Back to ${machine()}` }).click();
  await page.getByRole("radio", { name: /consistent/ }).first().click();
  await page.getByRole("button", { name: "More acts on the point" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  const sure = page.getByRole("dialog").getByRole("button", { name: "Delete" });
  await expect(sure).toBeDisabled();
  await page.getByRole("dialog").getByRole("textbox").fill(machine());
  await sure.click();
  const back = page.getByRole("button", { name: "Bring it back" });
  await expect(back).toBeVisible();
  // While the deletion is under way the server refuses, and the page says so.
  await expect(async () => {
    if (await back.isVisible()) await back.click();
    await expect(back).toBeHidden({ timeout: 10_000 });
  }).toPass();
  await expect(page.getByRole("button", { name: "Restore this point" })).toBeVisible();
});

test("protection is stopped and resumed", async () => {
  await page.getByRole("button", { name: "More acts", exact: true }).click();
  await page.getByRole("menuitem", { name: "Stop protection" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
  await expect(page.locator(".page-title").getByText("Protection stopped")).toBeVisible();
  await page.getByRole("button", { name: "More acts", exact: true }).click();
  await page.getByRole("menuitem", { name: "Resume protection" }).click();
  await page.getByRole("dialog").getByLabel("Policy").selectOption({ label: "nightly" });
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await expect(page.locator(".page-title").getByText("Protected")).toBeVisible();
});

test("a change of the policy is tried before it is made", async () => {
  await page.locator(".facts").getByRole("link", { name: "nightly" }).click();
  await page.getByLabel("Days", { exact: true }).fill("60");
  await page.getByRole("button", { name: "See what would change" }).click();
  await expect(page.getByRole("dialog").getByText("stay longer")).toBeVisible();
  await page.getByRole("dialog").getByRole("button", { name: "Change it" }).click();
  await expect(page.getByText("nightly is changed").first()).toBeVisible();
});

test("the log of a job says who asked, and what was done when", async () => {
  await page.goto("/jobs?kind=backup");
  // The one of the button, not the first one of the policy.
  await page.getByRole("row", { name: /admin/ }).first().getByRole("link").click();
  const log = page.getByRole("list", { name: "What happened, in order" }).getByRole("listitem");
  await expect(log.first()).toContainText("Asked for by admin");
  await expect(log.nth(1)).toContainText("It began, by the mover server");
  await expect(log.filter({ hasText: "Take snapshot: done" })).toHaveCount(1);
  await expect(log.last()).toContainText("It ended: completed");
});

test("a snapshot is taken, a disk made of it, and it goes and comes back", async () => {
  await page.getByRole("link", { name: "Snapshots" }).click();
  await expect(page.getByText("No snapshot yet")).toBeVisible();
  await page.getByRole("button", { name: "Take a snapshot" }).first().click();
  await page.getByLabel(machine(), { exact: true }).check();
  await page.getByLabel("Name", { exact: true }).fill("before-upgrade");
  await page.getByRole("button", { name: "Take it" }).click();
  await page.getByRole("link", { name: `The one of ${machine()}` }).click({ timeout: 180_000 });
  await expect(page.getByRole("heading", { name: "before-upgrade", level: 1 })).toBeVisible();

  await page.getByRole("button", { name: "Make a disk" }).first().click();
  const disk = `${folder()}/made.qcow2`;
  await page.getByRole("dialog").getByLabel("File on the mover's host").fill(disk);
  await page.getByRole("dialog").getByRole("button", { name: "Make it" }).click();
  await expect(page.getByText(disk)).toBeVisible({ timeout: 180_000 });
  expect(statSync(disk).size).toBeGreaterThan(0);

  await page.getByRole("link", { name: "Snapshots" }).click();
  await page.getByRole("link", { name: "before-upgrade" }).click();
  await page.getByRole("button", { name: "More acts on the snapshot" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  const sure = page.getByRole("dialog").getByRole("button", { name: "Delete" });
  await expect(page.getByRole("dialog")).toContainText("after that nobody can");
  await expect(sure).toBeDisabled();
  await page.getByRole("dialog").getByRole("textbox").fill("before-upgrade");
  await sure.click();
  const back = page.getByRole("button", { name: "Bring it back" });
  await expect(back).toBeVisible();
  await expect(async () => {
    if (await back.isVisible()) await back.click();
    await expect(back).toBeHidden({ timeout: 10_000 });
  }).toPass();
  await expect(page.locator(".page-title").getByText("Kept")).toBeVisible();
});

test("a vault gets a second store, and a disk comes back out of it", async () => {
  await page.getByRole("link", { name: "Vaults" }).click();
  await page.getByRole("link", { name: /^main/ }).click();
  await page.getByRole("button", { name: "Add a second store" }).click();
  await page.getByRole("dialog").getByLabel("Where").fill(`${folder()}/other-region`);
  await page.getByRole("dialog").getByRole("button", { name: "Add it" }).click();
  await expect(page.getByText(/points? behind|has its copy/)).toBeVisible();
  await page.getByRole("button", { name: "Copy now" }).click();
  const copies = page.getByRole("region", { name: "Copies in the second store" });
  await expect(page.getByText("Every point has its copy")).toBeVisible({ timeout: 180_000 });
  await copies.getByRole("link", { name: /^Restore/ }).first().click();
  await page.getByRole("radio", { name: /Disks as image files/ }).check();
  await expect(page.getByRole("radio", { name: /Single files/ })).toBeEnabled();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel("Folder on the mover's host").fill(`${folder()}/from-copy`);
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("It is read out of the second store")).toBeVisible();
  await page.getByRole("button", { name: "Restore", exact: true }).click();
  await expect(page.getByRole("heading", { name: "It is restored" })).toBeVisible({ timeout: 230_000 });
  expect(readdirSync(`${folder()}/from-copy`).length).toBeGreaterThan(0);
});

test("machines are restored as one, and it is seen how all of it goes", async () => {
  mkdirSync(`${folder()}/many`);
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await page.getByRole("link", { name: "Restores of many machines" }).click();
  await page.getByRole("button", { name: "Restore many machines" }).first().click();
  await page.getByLabel(machine(), { exact: true }).check();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByRole("radio", { name: /Disks as image files/ }).check();
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel("Folder on the movers' hosts").fill(`${folder()}/many`);
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("One that fails stops no other")).toBeVisible();
  await page.getByRole("button", { name: "Restore 1 machine" }).click();
  await expect(page.locator(".page-title").getByText("Completed")).toBeVisible({ timeout: 230_000 });
  expect(readdirSync(`${folder()}/many/${machine()}`).length).toBeGreaterThan(0);
});

test("a machine that is off becomes an image, and machines are made of that", async () => {
  await page.getByRole("link", { name: "Hosts" }).click();
  await page.getByRole("button", { name: "Add a host" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("racks");
  await dialog.getByRole("radio", { name: /a libvirt/ }).check();
  await dialog.getByLabel("libvirt's address").fill(told("PORTAL_LIBVIRT"));
  await dialog.getByRole("button", { name: "Add" }).click();
  await expect(page.getByRole("cell", { name: "racks", exact: true })).toBeVisible();

  await page.getByRole("link", { name: "Images" }).click();
  await page.getByRole("button", { name: "Make an image" }).first().click();
  await dialog.getByLabel(/^Image/).fill("web");
  // Its host has just been added, and tells of it in a moment.
  await dialog.getByLabel("Of the machine").selectOption("golden", { timeout: 60_000 });
  await dialog.getByRole("radio", { name: /it must be off/ }).check();
  await dialog.getByRole("button", { name: "Make it" }).click();
  const created = page.getByRole("button", { name: "Create machines" });
  await created.click({ timeout: 180_000 });
  await dialog.getByLabel("How many").fill("3");
  await dialog.getByLabel(/^Host/).selectOption("racks");
  await dialog.getByLabel("Folder on the host").fill(`${folder()}/web`);
  await dialog.getByLabel("Start them").uncheck();
  await dialog.getByRole("button", { name: "Create them" }).click();
  await page.getByRole("button", { name: "Show" }).last().click();
  await expect(page.locator(".page-title").getByText(/Completed/)).toBeVisible({ timeout: 180_000 });
  expect(readdirSync(`${folder()}/web`).sort()).toEqual(expect.arrayContaining(["web-1", "web-2", "web-3"]));
});

test("what a month comes to is shown at one's own prices", async () => {
  await page.getByRole("link", { name: "Costs" }).click();
  await page.getByRole("button", { name: "Say prices" }).click();
  await page.getByRole("dialog").getByLabel("Up to 50 GiB").fill("5");
  await page.getByRole("dialog").getByLabel("Vault", { exact: true }).fill("0,0224");
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await page.getByRole("button", { name: "Measure main now" }).click();
  await expect(page.getByRole("heading", { name: /^Vault: / })).toBeVisible({ timeout: 180_000 });
  await expect(page.getByRole("img", { name: /^Costs of .*Protected machines €/ })).toBeVisible();
  await page.getByLabel("A line for each").selectOption("vault");
  await expect(page.getByRole("region", { name: "Who or what it is for" }).getByRole("link", { name: "main" })).toBeVisible();
  await page.getByRole("link", { name: "Strongroom, overview" }).click();
  await expect(page.getByRole("img", { name: /^Stored bytes by tier: .*Vault/ })).toBeVisible();
});

test("a reader is offered nothing that only others may do", async ({ browser }) => {
  await page.goto("/access");
  await page.getByRole("button", { name: "Add somebody" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("reader");
  await page.getByRole("dialog").getByLabel("Password").fill("only-for-looking-1");
  await page.getByRole("dialog").getByRole("button", { name: "Add" }).click();
  await expect(page.getByRole("cell", { name: "reader", exact: true })).toBeVisible();

  const other = await browser.newPage();
  await other.goto(`/machines?search=${machine()}`);
  await other.getByLabel("Name").fill("reader");
  await other.getByLabel("Password").fill("only-for-looking-1");
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("link", { name: machine(), exact: true }).click();
  await expect(other.getByRole("radio", { name: /consistent/ }).first()).toBeVisible();
  for (const name of ["Back up now", "Restore", "Restore this point", "Files", "More acts"]) {
    await expect(other.getByRole("button", { name, exact: true })).toBeHidden();
  }
  await expect(other.getByRole("link", { name: "Audit" })).toBeHidden();
  await other.getByRole("link", { name: "Snapshots" }).click();
  await other.getByRole("link", { name: "before-upgrade" }).click();
  await expect(other.getByRole("region", { name: "What it takes up" })).toBeVisible();
  for (const name of ["Make a disk", "Measure now", "More acts on the snapshot"]) {
    await expect(other.getByRole("button", { name, exact: true })).toBeHidden();
  }
  await other.close();
});

test("whoever signs out is out", async ({ browser }) => {
  // Of a session of its own: the others go on with theirs.
  const other = await browser.newPage();
  await signIn(other);
  await other.getByRole("button", { name: "Account of admin" }).click();
  await other.getByRole("menuitem", { name: "Sign out" }).click();
  await expect(other.getByRole("heading", { name: "Sign in to Strongroom" })).toBeVisible();
  await other.close();
});
