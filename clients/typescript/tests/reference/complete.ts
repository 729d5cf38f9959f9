import { scrapeJobManager } from 'scrape-jobs-client';

// Mark job as completed
const completedJob = await scrapeJobManager.updateJob(
  '123e4567-e89b-12d3-a456-426614174000',
  {
    status: 'completed',
    completed_at: new Date().toISOString(),
    stats: {
      pagesProcessed: 100,
      totalProcessingTime: 180000,
      dataExtracted: {
        products: 156,
        images: 234
      }
    }
  }
);
