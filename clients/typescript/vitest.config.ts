import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

// The test of the project (tests/clients/test_typescript.py) starts the service and sets these.
const { SCRAPE_JOBS_URL, SCRAPE_JOBS_KEY, CHROMIUM, PORT_OF_REACT_18, PORT_OF_REACT_19 } =
  process.env;
if (!SCRAPE_JOBS_URL) throw new Error("SCRAPE_JOBS_URL is not set: the tests need the service");

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const alias = {
  "scrape-jobs-client/react": source("src/react/index.ts"),
  "scrape-jobs-client": source("src/index.ts"),
};

/** Return the tests of React parts, in a browser. */
function reactProject(
  react: string,
  port: number,
  versions: Record<string, string> = {},
): TestProjectInlineConfiguration {
  return {
    extends: true,
    resolve: { alias: { ...alias, ...versions } },
    // The pages call the service at their own origin; the proxy adds the key, as a backend would.
    server: {
      proxy: {
        "/api": {
          target: SCRAPE_JOBS_URL,
          headers: { Authorization: `Bearer ${SCRAPE_JOBS_KEY}` },
        },
      },
    },
    test: {
      name: `react-${react}`,
      include: ["tests/react/*.test.tsx"],
      provide: { url: SCRAPE_JOBS_URL!, key: SCRAPE_JOBS_KEY!, react },
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        api: { port, strictPort: true },
        provider: playwright({
          launchOptions: {
            executablePath: CHROMIUM!,
            args: [
              "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
              "--disable-sync", "--disable-background-networking", "--disable-component-update",
            ],
          },
        }),
        instances: [{ browser: "chromium" }],
      },
    },
  };
}

export default defineConfig({
  test: {
    testTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } },
    retry: 2, // other tests share the machine, which may be busy
    projects: [
      { extends: true, resolve: { alias }, test: { name: "node", include: ["tests/*.test.ts"] } },
      reactProject("19", Number(PORT_OF_REACT_19)),
      reactProject("18", Number(PORT_OF_REACT_18), {
        "react-dom": "react-dom-18",
        react: "react-18",
      }),
    ],
  },
});
