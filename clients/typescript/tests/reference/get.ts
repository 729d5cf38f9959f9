import { scrapeJobManager } from 'scrape-jobs-client';

// Get job details
const job = await scrapeJobManager.getJob('123e4567-e89b-12d3-a456-426614174000');
if (job) {
  console.log(`Job ${job.id} status: ${job.status}`);
  console.log(`Progress: ${job.stats.pagesProcessed}/${job.stats.totalPages}`);
}
