// Every page, light and dark and as narrow as a phone: axe finds nothing serious on it, and it can be pictured.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { accessible, complaints, signIn, token } from "./scene";

const pictures = process.env.PORTAL_SCREENSHOTS;

test("every page is for everybody, light and dark", async ({ browser }) => {
  test.setTimeout(1_200_000);
  for (const colorScheme of ["light", "dark"] as const) {
    const context = await browser.newContext({ colorScheme, ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const heard = complaints(page);
    const look = async (name: string) => {
      await expect(page.getByText(/^Loading/)).toHaveCount(0);
      await accessible(page);
      if (!pictures) return;
      mkdirSync(pictures, { recursive: true });
      await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`), fullPage: true, animations: "disabled" });
    };
    await page.goto("/sign-in");
    await expect(page.getByRole("heading", { name: "Sign in to Strongroom" })).toBeVisible();
    await look("sign-in");
    await signIn(page);
    const ids = await places(await token(page));
    const at = `/vaults/${ids.vault}/items/${ids.item}`;
    const all: [string, string][] = [
      ["overview", "/"],
      ["machines", "/machines"],
      ["machine", at],
      ["hosts", "/hosts"],
      ["protect", "/protect"],
      ["restore", `${at}/restore?point=${ids.point}`],
      ["files", `${at}/points/${ids.point}/files`],
      ["restore-many", "/restore-many"],
      ["restore-sets", "/restore-sets"],
      ["restore-set", `/vaults/${ids.vault}/restore-sets/${ids.set}`],
      ["snapshots", "/snapshots"],
      ["snapshot", `/vaults/${ids.vault}/snapshots/${ids.snapshot}`],
      ["snapshot-new", "/snapshots/new"],
      ["images", "/images"],
      ["jobs", "/jobs"],
      ["job", `/jobs/${ids.job}`],
      ["alerts", "/alerts"],
      ["vaults", "/vaults"],
      ["vault", `/vaults/${ids.vault}`],
      ["vault-new", "/vaults/new"],
      ["policies", "/policies"],
      ["policy", `/vaults/${ids.vault}/policies/${ids.policy}`],
      ["reports", "/reports"],
      ["costs", "/costs"],
      ["access", "/access"],
      ["audit", "/audit"],
      ["nowhere", "/no/such/page"],
    ];
    for (const [name, address] of all) {
      await page.goto(address);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      if (name === "files") await expect(page.getByRole("columnheader", { name: "Volume" })).toBeVisible({ timeout: 120_000 });
      await look(name);
    }
    if (colorScheme === "light") {
      await page.setViewportSize({ width: 390, height: 844 });
      for (const [name, address] of all.filter(([name]) => PHONE.includes(name))) {
        await page.goto(address);
        await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        expect(wide, `${name} fits a phone`).toBeLessThanOrEqual(0);
        await look(`phone-${name}`);
      }
    }
    expect(heard).toEqual([]);
    await context.close();
  }
});

/** Pages to look at on the way. */
const PHONE = ["overview", "machines", "machine", "jobs", "job", "snapshots", "snapshot", "images", "vault", "costs", "restore-set", "alerts"];

interface Ids {
  vault: string;
  item: string;
  point: string;
  policy: string;
  job: string;
  set: string;
  snapshot: string;
}

async function places(bearer: string): Promise<Ids> {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  const ask = async (path: string): Promise<{ id: string }[]> => {
    const answer = await fetch(`${process.env.PORTAL_URL}${path}`, { headers: { Authorization: `Bearer ${bearer}` } });
    return ((await answer.json()) as { items: { id: string }[] }).items;
  };
  const id = (list: { id: string }[]) => list[0]?.id ?? "";
  const vault = id(await ask("/v1/vaults"));
  const item = id(await ask(`/v1/vaults/${vault}/items`));
  return {
    vault,
    item,
    point: id(await ask(`/v1/vaults/${vault}/items/${item}/points`)),
    policy: id(await ask(`/v1/vaults/${vault}/policies`)),
    job: id(await ask(`/v1/jobs?kind=backup`)),
    set: id(await ask(`/v1/vaults/${vault}/restore-sets`)),
    snapshot: id(await ask(`/v1/vaults/${vault}/snapshots`)),
  };
}
