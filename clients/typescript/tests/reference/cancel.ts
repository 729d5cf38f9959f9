import { scrapeJobManager } from 'scrape-jobs-client';

// Cancel job
const cancelledJob = await scrapeJobManager.cancelJob(
  '123e4567-e89b-12d3-a456-426614174000',
  'Job taking too long, cancelling to free resources'
);
