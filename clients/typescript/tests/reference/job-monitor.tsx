import React, { useState, useEffect } from 'react';

interface JobMonitorProps {
  jobId: string;
  onStatusChange?: (status: string) => void;
}

export function JobMonitor({ jobId, onStatusChange }: JobMonitorProps) {
  const [job, setJob] = useState(null);
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState(null);

  const fetchJob = async () => {
    try {
      const response = await fetch(`/api/scrape-jobs/${jobId}`);
      const data = await response.json();
      
      if (data.success) {
        setJob(data.data);
        if (onStatusChange && data.data.status !== job?.status) {
          onStatusChange(data.data.status);
        }
      } else {
        setError(data.error);
      }
    } catch (err) {
      setError('Failed to fetch job details');
    } finally {
      setLoading(false);
    }
  };

  const cancelJob = async () => {
    try {
      const response = await fetch(`/api/scrape-jobs/${jobId}?reason=User%20cancelled`, {
        method: 'DELETE'
      });
      
      const data = await response.json();
      if (data.success) {
        setJob(data.data);
      }
    } catch (err) {
      console.error('Failed to cancel job:', err);
    }
  };

  useEffect(() => {
    fetchJob();
    
    // Poll for updates if job is active
    const interval = setInterval(() => {
      if (job?.status === 'pending' || job?.status === 'running') {
        fetchJob();
      }
    }, 5000);

    return () => clearInterval(interval);
  }, [jobId, job?.status]);

  if (loading) return <div>Loading job details...</div>;
  if (error) return <div>Error: {error}</div>;
  if (!job) return <div>Job not found</div>;

  const progress = job.stats.totalPages 
    ? (job.stats.pagesProcessed / job.stats.totalPages) * 100 
    : 0;

  return (
    <div className="job-monitor">
      <h2>Job: {job.domain}</h2>
      
      <div className={`status status-${job.status}`}>
        Status: {job.status}
      </div>
      
      {job.status === 'running' && (
        <div className="progress">
          <div className="progress-bar" style={{ width: `${progress}%` }}>
            {Math.round(progress)}%
          </div>
          <span>
            {job.stats.pagesProcessed} / {job.stats.totalPages} pages
          </span>
        </div>
      )}
      
      <div className="details">
        <p>Type: {job.job_type}</p>
        <p>Priority: {job.priority}</p>
        <p>Retry Count: {job.retry_count} / {job.max_retries}</p>
        <p>Created: {new Date(job.created_at).toLocaleString()}</p>
        {job.started_at && (
          <p>Started: {new Date(job.started_at).toLocaleString()}</p>
        )}
      </div>
      
      {job.stats.dataExtracted && (
        <div className="extracted-data">
          <h3>Extracted Data:</h3>
          {Object.entries(job.stats.dataExtracted).map(([key, value]) => (
            <p key={key}>{key}: {value}</p>
          ))}
        </div>
      )}
      
      {job.error_message && (
        <div className="error-message">
          Error: {job.error_message}
        </div>
      )}
      
      {(job.status === 'pending' || job.status === 'running') && (
        <button onClick={cancelJob} className="cancel-button">
          Cancel Job
        </button>
      )}
    </div>
  );
}
