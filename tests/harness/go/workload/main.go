// The program in the pods of a real node: it is the sandbox's pause, a container that waits, one that takes its time to end
// or ends by itself, one that needs somebody to be there, one that writes logs, a server that takes an upload, and one that plays
// an action (play.go).
package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	args := append(os.Args[1:], "wait")
	switch args[0] {
	case "write":
		// write MEBIBYTES [MEBIBYTES-PER-SECOND]: lines of 1 KiB, then wait.
		write(args[1:])
	case "receive":
		// receive PORT [CERTIFICATE KEY]: takes every PUT, and says on stdout what came.
		go receive(args[1 : len(args)-1])
	case "play":
		play(ended)
	case "fail":
		// fail SECONDS: ends with 1 by itself, after so long.
		go func() {
			time.Sleep(seconds(args[1]))
			os.Exit(1)
		}()
	case "need":
		// need ADDRESS SECONDS: ends with 1 unless somebody answers there within so long; says so, and a password that
		// nobody should see.
		need(args[1], seconds(args[2]))
	}
	<-ended
	switch args[0] {
	case "linger":
		// linger SECONDS: goes on for so long when it is told to end.
		time.Sleep(seconds(args[1]))
	case "refuse":
		// refuse: ends with 1 when it is told to end, where the others end with 0.
		os.Exit(1)
	}
}

func seconds(text string) time.Duration {
	number, _ := strconv.Atoi(text)
	return time.Duration(number) * time.Second
}

func need(address string, patience time.Duration) {
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			connection.Close()
			fmt.Println("somebody answers at", address)
			return
		}
		if time.Now().After(until) {
			fmt.Printf("nobody answers at %s: %v\npassword=hunter22-hunter22\n", address, err)
			os.Exit(1)
		}
	}
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func write(args []string) {
	mebibytes, _ := strconv.Atoi(args[0])
	perSecond, _ := strconv.Atoi(args[1])
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	filler := make([]byte, 1000)
	for number := 0; number < mebibytes*1024; number++ {
		// Nothing that compresses well: a bundle of such lines is nearly as large as they are.
		for index := range filler {
			filler[index] = letters[rand.IntN(len(letters))]
		}
		fmt.Fprintf(out, "line %010d %s\n", number, filler)
		// In small steps: a log that is rotated while this sleeps is empty only for a moment.
		if perSecond > 0 && (number+1)%64 == 0 {
			out.Flush()
			time.Sleep(time.Second / time.Duration(perSecond*1024/64))
		}
	}
	out.Flush()
}

func receive(args []string) {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		fmt.Printf("%s %s length=%d read=%d chunked=%v error=%v magic=%x\n", request.Method, request.URL, request.ContentLength,
			len(body), len(request.TransferEncoding) > 0, err, body[:min(2, len(body))])
		if strings.HasPrefix(request.URL.Path, "/redirect") {
			http.Redirect(answer, request, "/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	if len(args) == 3 {
		fmt.Println(http.ListenAndServeTLS(":"+args[0], args[1], args[2], nil))
	} else {
		fmt.Println(http.ListenAndServe(":"+args[0], nil))
	}
	os.Exit(1)
}
