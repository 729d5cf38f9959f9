export { ScrapeJobError } from "./errors.js";
export {
  isFinal,
  type Job,
  type JobFilter,
  type JobStatus,
  type JsonObject,
  type NewJob,
  type RetryOptions,
  type UpdateScrapeJobOptions,
} from "./jobs.js";
export {
  type CallOptions,
  createScrapeJobManager,
  type JobPage,
  type ListOptions,
  type ManagerOptions,
  type PageOptions,
  type PostOptions,
  type ScrapeJobManager,
  scrapeJobManager,
} from "./manager.js";
export type { components, operations, paths } from "./openapi.js";
export type { RetryPolicy } from "./retrying.js";
export type { Fetch } from "./transport.js";
export type { WatchOptions } from "./watching.js";
