module action-runner.test/workload

go 1.26.0
