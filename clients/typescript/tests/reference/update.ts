import { scrapeJobManager } from 'scrape-jobs-client';

// Update job status
const updatedJob = await scrapeJobManager.updateJob(
  '123e4567-e89b-12d3-a456-426614174000',
  {
    status: 'running',
    started_at: new Date().toISOString(),
    stats: {
      pagesProcessed: 25,
      successfulRequests: 24,
      failedRequests: 1
    }
  }
);
