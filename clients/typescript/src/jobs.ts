import type { components, operations } from "./openapi.js";

type Schemas = components["schemas"];

/** A JSON object whose keys the scraper chooses. */
export type JsonObject = Record<string, any>;

type Documents = "config" | "metadata" | "stats";

/** `T` with documents whose keys may be read without a check. */
type WithDocuments<T> = Omit<T, Documents> & {
  [K in keyof T as K extends Documents ? K : never]: JsonObject;
};

/** A scrape job. */
export type Job = WithDocuments<Schemas["Job"]>;

export type JobStatus = Job["status"];

/** The fields of a new job. */
export type NewJob = WithDocuments<Schemas["NewJob"]>;

/** The fields that an update changes: new stats replace the old ones, metadata is merged. */
export type UpdateScrapeJobOptions = WithDocuments<
  Pick<
    Schemas["UpdateJob"],
    | "status"
    | "error_message"
    | "stats"
    | "retry_count"
    | "started_at"
    | "completed_at"
    | "metadata"
  >
>;

/** How a failed job is retried. */
export type RetryOptions = Schemas["Retry"];

type ListQuery = NonNullable<operations["listJobs"]["parameters"]["query"]>;

/** Which jobs a list contains, and in which order. */
export type JobFilter = Omit<ListQuery, "status" | "fields" | "limit" | "cursor"> & {
  status?: JobStatus | readonly JobStatus[];
};

const FINAL_STATUSES: ReadonlySet<string> = new Set<JobStatus>([
  "completed",
  "failed",
  "cancelled",
]);

/** Return whether no worker processes a job with this status any more. */
export function isFinal(status: string): boolean {
  return FINAL_STATUSES.has(status);
}
