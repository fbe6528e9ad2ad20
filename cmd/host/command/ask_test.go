package command_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
)

// ask makes a request to a host over TCP, where its log says that it listens,
// and prints the status and the body of the answer.
//
//	tool ask LOG METHOD PATH [FILE WITH TOKEN]
func ask(args []string) error {
	log, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`listening: address=(\S+)`).FindSubmatch(log)
	if found == nil {
		return fmt.Errorf("%s does not say where the host listens", args[0])
	}
	request, err := http.NewRequest(args[1], "http://"+string(found[1])+args[2], http.NoBody)
	if err != nil {
		return err
	}
	if len(args) > 3 {
		token, err := os.ReadFile(args[3])
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.StatusCode)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
