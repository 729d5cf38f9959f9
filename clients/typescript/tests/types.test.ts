import { readFile } from "node:fs/promises";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";
import { expect, test } from "vitest";

test("the types are those of the OpenAPI document", async () => {
  const answer = await fetch(`${process.env["SCRAPE_JOBS_URL"]}/api/openapi.json`);
  const generated = COMMENT_HEADER + astToString(await openapiTS(await answer.text()));
  const committed = await readFile(new URL("../src/openapi.ts", import.meta.url), "utf8");
  const isCurrent = committed === generated;
  expect(isCurrent, "src/openapi.ts is out of date: see Development in README.md").toBe(true);
});
