package main

import (
	"fmt"
	"net/http"
	"runtime"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "<h1>go</h1>", runtime.Version())
	})
	panic(http.ListenAndServe(":8080", nil))
}
