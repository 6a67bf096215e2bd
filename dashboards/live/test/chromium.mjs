// Chromium for the tests, and what is thrown away after them.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export function folder() {
  const path = mkdtempSync(join(tmpdir(), "headsup-page-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }) };
}

export async function browser(profile, options = {}) {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launchPersistentContext(profile, { executablePath, args, headless: true, viewport: { width: 1440, height: 900 }, ...options });
}
