package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What a container of the executor can do in place of an action. It is told as the reason of the execution:
//
//	exit CODE           garbage as message and as log
//	log                 half a message; the log has the result
//	rotated garbled     the same, but the log is rotated away before it ends
//	rotated trimmed     the message lacks what undoes it, and the log that has it is rotated away
//	oom, oom said       takes memory until it is killed; says before that it did well
//	flood, flood 0      writes 8 MiB of log, and does not end when it is told to; ends with 0, without a word
//	flood said          ends with 0 when it is told to, and says that it did well
//	flood then          ends well by itself after some time, but not when it is told to end
func play(ended <-chan os.Signal) {
	how := append(strings.Fields(strings.TrimPrefix(os.Getenv("ACTION_REASON"), "play: ")), "", "")
	switch how[0] {
	case "exit":
		say("garbage {")
		fmt.Println("garbage {")
		code, _ := strconv.Atoi(how[1])
		os.Exit(code)
	case "log":
		say(result(way)[:100])
		fmt.Println(result(way))
		os.Exit(0)
	case "rotated":
		rotate(how[1])
	case "oom":
		if how[1] == "said" {
			say(result(way))
		}
		var all [][]byte
		for {
			piece := make([]byte, 1<<20)
			for index := range piece {
				piece[index] = 1
			}
			all = append(all, piece)
		}
	case "flood":
		fill(1050)
		flooded(how[1], ended)
	}
}

func flooded(how string, ended <-chan os.Signal) {
	var itself <-chan time.Time
	if how == "then" {
		itself = time.After(25 * time.Second)
	}
	select {
	case <-itself:
		say(result(way))
		os.Exit(0)
	case <-ended:
	}
	switch how {
	case "said":
		say(result(way))
		os.Exit(0)
	case "0":
		os.Exit(0)
	}
	time.Sleep(time.Hour)
}

// rotate ends when its last line is in a file that the kubelet has put aside. All but the last few lines stay below the size
// at which it does so: it cannot happen in between, but for some milliseconds.
func rotate(how string) {
	fill(1300)
	time.Sleep(time.Second)
	fill(10)
	fmt.Println(result(way))
	if how == "trimmed" {
		say(result(`"trimmed":["rollbackInformation"]`))
	} else {
		say(result(way)[:100])
	}
	time.Sleep(12 * time.Second)
	os.Exit(0)
}

// fill writes so many lines of 8000 bytes.
func fill(lines int) {
	line := strings.Repeat("x", 8000)
	for range lines {
		fmt.Println(line)
	}
}

func say(message string) {
	if err := os.WriteFile("/dev/termination-log", []byte(message), 0o600); err != nil {
		fmt.Println(err)
	}
}

const way = `"rollbackInformation":{"available":true,"rollbackAction":"scale-deployment","rollbackParameters":{"replicas":1}}`

// result is one of this execution that says success.
func result(more string) string {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Sprintf(`{"apiVersion":"kubernetesexecution.kubernaut.io/v1alpha1","kind":"ActionResult","actionId":%q,"success":true,`+
		`"code":"Changed","output":"played","retryable":false,"effect":"applied","dryRun":false,"startTime":%q,"endTime":%q,%s}`,
		os.Getenv("ACTION_ID"), now, now, more)
}
