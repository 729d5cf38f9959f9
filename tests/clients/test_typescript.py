"""The TypeScript client: its own tests, run by vitest, and the package that npm makes of it.

Its tests are in clients/typescript/tests. They call the real service, the React parts in Chromium.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from scrape_jobs import ScrapeJobs

from support.documents import blocks
from support.factories import new_domain
from support.keyed_api import KeyedApi
from support.node import MODULES, PACKAGE, install_tools, npm, run, tool
from support.pages import chromium
from support.service import Service, environment, free_port, wait_until

ON_SERVER = """
import { renderToString } from "react-dom/server";
import { createElement } from "react";
import { JobMonitor } from "scrape-jobs-client/react";
console.log(renderToString(createElement(JobMonitor, { jobId: "1" })));
"""

PAGE = """
import { createScrapeJobManager, type Job } from "scrape-jobs-client";
import { JobMonitor, ScrapeJobsProvider, useJob } from "scrape-jobs-client/react";

const manager = createScrapeJobManager({ baseUrl: "https://jobs.example.com", key: "k" });

function Title({ id }: { id: string }) {
  const { job, cancel }: { job: Job | null; cancel: (reason?: string) => Promise<void> } = useJob(id);
  return <button onClick={() => cancel("enough")}>{job?.status}</button>;
}

export const page = (
  <ScrapeJobsProvider manager={manager}>
    <Title id="1" />
    <JobMonitor jobId="1" onStatusChange={(status) => status.toUpperCase()} />
  </ScrapeJobsProvider>
);
"""

OPTIONS = {
    "target": "es2022", "module": "nodenext", "strict": True, "jsx": "react-jsx", "types": [],
    "lib": ["es2022", "dom"], "exactOptionalPropertyTypes": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def ports() -> Mapping[str, str]:
    """The ports of the pages on which the tests run React."""
    return {"PORT_OF_REACT_18": str(free_port()), "PORT_OF_REACT_19": str(free_port())}


@pytest.fixture(scope="module")
def variables(database_url: str, ports: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The environment of a program that calls a service with keys."""
    install_tools()
    origins = ",".join(f"http://localhost:{port}" for port in ports.values())
    settings = {"SCRAPE_JOBS_AUTH": "keys", "SCRAPE_JOBS_CORS_ORIGINS": origins}
    with Service(database_url, **settings) as service:
        key = KeyedApi(database_url).admin
        yield {"SCRAPE_JOBS_URL": service.url, "SCRAPE_JOBS_KEY": key}


def test_its_own_tests_pass(variables: Mapping[str, str], ports: Mapping[str, str]) -> None:
    given = {**variables, **ports, "CHROMIUM": chromium()}
    assert "passed" in run(tool("vitest"), "run", variables=given)


def test_the_packed_package_works(variables: Mapping[str, str], tmp_path: Path) -> None:
    packed = json.loads(run(npm(), "pack", "--json", "--pack-destination", str(tmp_path)))[0]
    assert {file["path"].split("/")[0] for file in packed["files"]} == {
        "dist", "LICENSE", "README.md", "package.json",
    }  # fmt: skip
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run(npm(), "install", "--offline", packed["filename"], folder=tmp_path)
    modules = tmp_path / "node_modules"
    assert [path.name for path in modules.iterdir() if path.name[0] != "."] == [
        "scrape-jobs-client"
    ]

    domain = new_domain()
    example = blocks((PACKAGE / "README.md").read_text(), "ts")[0]
    (tmp_path / "watch.ts").write_text(example.replace("example.com", domain))
    (tmp_path / "page.tsx").write_text(PAGE)
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS}))
    (modules / "@types").symlink_to(MODULES / "@types")
    run(tool("tsc"), folder=tmp_path)
    watch(tmp_path, domain, variables)

    for name in ("react", "react-dom", "scheduler"):
        (modules / name).symlink_to(MODULES / name)
    (tmp_path / "server.js").write_text(ON_SERVER)
    assert run("node", "server.js", folder=tmp_path) == "<div>Loading job details...</div>\n"


def watch(folder: Path, domain: str, variables: Mapping[str, str]) -> None:
    """Run watch.js, which creates a job of `domain` and watches it, and complete the job."""
    process = subprocess.Popen(
        ["node", "watch.js"],
        cwd=folder,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    api = ScrapeJobs(variables["SCRAPE_JOBS_URL"], variables["SCRAPE_JOBS_KEY"])
    try:
        wait_until(lambda: any(api.list(domain=domain)))
        job = next(api.list(domain=domain))
        api.update(job.id, status="running")
        api.update(job.id, status="completed", stats={"pagesProcessed": 7})
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert output.splitlines()[-1] == "completed 7"
