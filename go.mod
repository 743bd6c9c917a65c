module github.com/forst-go/forst

go 1.25.0
