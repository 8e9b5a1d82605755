"""What a project's own tests use: assertions about jobs, jobs that run here, a clock, a worker, a tenant."""
