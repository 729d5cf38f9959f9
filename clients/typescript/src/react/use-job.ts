"use client";

import { useCallback, useContext, useMemo, useSyncExternalStore } from "react";
import { storeOf } from "./job-store.js";
import { ManagerContext } from "./provider.js";
import { type JobState, LOADING } from "./shared-job.js";

/** The state of a job, and what can be done with it. */
export interface UseJob extends JobState {
  /** Cancel the job. */
  cancel: (reason?: string) => Promise<void>;
  /** Read the job again now, and go on watching it: a final job may have been retried. */
  refresh: () => void;
}

/**
 * Watch a job until it is completed, failed or cancelled.
 *
 * All components that show the same job share one stream or poller.
 */
export function useJob(jobId: string): UseJob {
  const store = storeOf(useContext(ManagerContext));
  const subscribe = useCallback(
    (listener: () => void) => store.subscribe(jobId, listener),
    [store, jobId],
  );
  const state = useSyncExternalStore(
    subscribe,
    () => store.state(jobId),
    () => LOADING,
  );
  const actions = useMemo(
    () => ({
      cancel: (reason?: string) => store.cancel(jobId, reason),
      refresh: () => store.refresh(jobId),
    }),
    [store, jobId],
  );
  return { ...state, ...actions };
}
