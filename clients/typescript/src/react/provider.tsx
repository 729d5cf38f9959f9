"use client";

import { createContext, type ReactNode } from "react";
import { type ScrapeJobManager, scrapeJobManager } from "../manager.js";

export const ManagerContext = createContext<ScrapeJobManager>(scrapeJobManager);

export interface ScrapeJobsProviderProps {
  manager: ScrapeJobManager;
  children?: ReactNode;
}

/** Makes the components below use `manager` instead of the service at the origin of the page. */
export function ScrapeJobsProvider({ manager, children }: ScrapeJobsProviderProps) {
  return <ManagerContext.Provider value={manager}>{children}</ManagerContext.Provider>;
}
