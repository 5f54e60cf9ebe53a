module ringfence.dev/e2e/kind/pause

go 1.26.0
