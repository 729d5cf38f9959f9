"use client";

import { useEffect, useRef, useState } from "react";
import { ScrapeJobError } from "../errors.js";
import type { Job } from "../jobs.js";
import { useJob } from "./use-job.js";

export interface JobMonitorProps {
  jobId: string;
  /** Is called with the first status and with each new one. */
  onStatusChange?: (status: string) => void;
}

/** Shows a job with its progress and results, and a button that cancels it. */
export function JobMonitor({ jobId, onStatusChange }: JobMonitorProps) {
  const { job, error, loading, cancel } = useJob(jobId);
  useStatusChange(jobId, job?.status, onStatusChange);

  if (loading) return <div>Loading job details...</div>;
  if (!job) return error ? <div>Error: {textOf(error)}</div> : <div>Job not found</div>;

  const isActive = job.status === "pending" || job.status === "running";
  const extracted = job.stats?.dataExtracted;

  return (
    <div className="job-monitor">
      <h2>Job: {job.domain}</h2>

      <div className={`status status-${job.status}`}>Status: {job.status}</div>

      {error && (
        <div className="monitor-error" role="alert">
          Error: {textOf(error)}
        </div>
      )}

      {job.status === "running" && <Progress stats={job.stats} />}

      <div className="details">
        <p>Type: {job.job_type}</p>
        <p>Priority: {job.priority}</p>
        <p>
          Retry Count: {job.retry_count} / {job.max_retries}
        </p>
        <p>Created: {localTime(job.created_at)}</p>
        {job.started_at && <p>Started: {localTime(job.started_at)}</p>}
      </div>

      {extracted != null && (
        <div className="extracted-data">
          <h3>Extracted Data:</h3>
          {Object.entries(isObject(extracted) ? extracted : { data: extracted }).map(
            ([key, value]) => (
              <p key={key}>
                {key}: {valueText(value)}
              </p>
            ),
          )}
        </div>
      )}

      {job.error_message && <div className="error-message">Error: {job.error_message}</div>}

      {isActive && <CancelButton cancel={cancel} />}
    </div>
  );
}

/** Shows the pages of a job, and a bar if their total is known. */
function Progress({ stats }: { stats: Job["stats"] | undefined }) {
  const pages = Number(stats?.pagesProcessed ?? 0);
  const total = Number(stats?.totalPages ?? 0);
  const isKnown = Number.isFinite(pages / total);
  const progress = isKnown ? Math.min(100, Math.max(0, (pages / total) * 100)) : 0;
  return (
    <div className="progress">
      <div className="progress-bar" style={{ width: `${progress}%` }}>
        {Math.round(progress)}%
      </div>
      <span>{isKnown ? `${pages} / ${total} pages` : `${pages || 0} pages`}</span>
    </div>
  );
}

function CancelButton({ cancel }: { cancel: (reason: string) => Promise<void> }) {
  const [isCancelling, setCancelling] = useState(false);
  const [error, setError] = useState<unknown>(null);

  const click = async () => {
    setCancelling(true);
    setError(null);
    try {
      await cancel("User cancelled");
    } catch (failure) {
      setError(failure);
    }
    setCancelling(false);
  };

  return (
    <>
      {error != null && (
        <div className="monitor-error" role="alert">
          Failed to cancel job: {textOf(error)}
        </div>
      )}
      <button onClick={click} disabled={isCancelling} className="cancel-button">
        Cancel Job
      </button>
    </>
  );
}

/** Call `onStatusChange` once for each status of a job. */
function useStatusChange(
  jobId: string,
  status: string | undefined,
  onStatusChange: ((status: string) => void) | undefined,
): void {
  const reported = useRef("");
  useEffect(() => {
    const now = `${jobId} ${status}`;
    if (status === undefined || reported.current === now) return;
    reported.current = now;
    onStatusChange?.(status);
  }, [jobId, status, onStatusChange]);
}

function textOf(error: unknown): string {
  if (error instanceof ScrapeJobError) return error.error;
  return error instanceof Error ? error.message : String(error);
}

function localTime(time: string | undefined): string {
  return time ? new Date(time).toLocaleString() : "unknown";
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function valueText(value: unknown): string {
  return isObject(value) ? JSON.stringify(value) : String(value);
}
