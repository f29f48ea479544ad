import { defineConfig } from "@playwright/test";

// Started by crates/cli/tests/it/portal.rs, which has a server and a guest ready and says where they are.
const asRoot = process.getuid?.() === 0;

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  fullyParallel: false,
  workers: 1,
  reporter: "list",
  // Guests are emulated, on machines that have other things to do.
  timeout: 240_000,
  expect: { timeout: 60_000 },
  use: {
    baseURL: process.env.PORTAL_URL,
    // The server's certificate is its own; the tests are not about that.
    ignoreHTTPSErrors: true,
    actionTimeout: 60_000,
    viewport: { width: 1366, height: 860 },
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // A browser that is started for the first time reads 300 MB.
      timeout: 600_000,
      args: asRoot ? ["--no-sandbox"] : [],
    },
  },
});
