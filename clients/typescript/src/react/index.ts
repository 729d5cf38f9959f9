"use client";

export { JobMonitor, type JobMonitorProps } from "./job-monitor.js";
export { ScrapeJobsProvider, type ScrapeJobsProviderProps } from "./provider.js";
export type { JobState } from "./shared-job.js";
export { useJob, type UseJob } from "./use-job.js";
