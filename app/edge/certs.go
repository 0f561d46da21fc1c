// The certs command: the certificates of a running server, from its admin listener.

package edge

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"tafe/app/admin"
)

// adminMax bounds a request to the admin listener.
const adminMax = 10 * time.Second

func runCerts(ctx context.Context, args []string, stdout, _ io.Writer) error {
	var addr string
	var asJSON bool
	fs := flag.NewFlagSet("certs", flag.ContinueOnError)
	fs.StringVar(&addr, "admin", "127.0.0.1:9180", "`address` of the server's admin listener")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	if err := ParseFlags(fs, args, stdout); err != nil {
		return err
	}
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
	if err := CheckAddress(addr); err != nil {
		return Usagef("--admin: %v", err)
	}
	all, text, err := fetchCertificates(ctx, addr)
	switch {
	case err != nil:
		return err
	case asJSON:
		_, err = stdout.Write(text)
		return err
	case len(all) == 0:
		_, err = fmt.Fprintln(stdout, "the server has no certificates")
		return err
	}
	return printCertificates(stdout, all, time.Now())
}

func fetchCertificates(ctx context.Context, addr string) (all []admin.Certificate, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/certificates", nil)
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	w, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return nil, nil, fmt.Errorf("no server answers at %s: %w", addr, err)
	}
	defer func() { _ = w.Body.Close() }()
	if text, err = io.ReadAll(w.Body); err != nil {
		return nil, nil, err
	}
	if w.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answers %s: is it the admin listener of a server of this version?", addr, w.Status)
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, nil, fmt.Errorf("%s does not answer with certificates: %w", addr, err)
	}
	return all, text, nil
}

// printCertificates prints a table, with problems below it.
func printCertificates(w io.Writer, all []admin.Certificate, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSOURCE\tISSUER\tEXPIRES\tLEFT\tRENEWAL\tOCSP\tSTATE")
	for _, c := range all {
		state := "good"
		switch {
		case c.Expires.IsZero() && c.Problem == "":
			state = "being obtained"
		case c.Expires.IsZero():
			state = "missing"
		case now.After(c.Expires):
			state = "expired"
		case c.Problem != "":
			state = "not renewed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Source, dash(c.Issuer), day(c.Expires), left(c.Expires, now), day(c.Renewal), dash(c.Staple), state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range all {
		if c.Problem != "" {
			next := "the files are read again every minute"
			if !c.Next.IsZero() {
				next = fmt.Sprintf("attempts failed: %d, next: %s", c.Failures, c.Next.Local().Format(time.RFC3339))
			}
			if _, err := fmt.Fprintf(w, "\n%s: %s\n  %s\n", c.Name, c.Problem, next); err != nil {
				return err
			}
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func day(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Local().Format("2006-01-02 15:04")
}

// left returns the time to the expiry, in days, or in hours below two days.
func left(expires, now time.Time) string {
	if expires.IsZero() {
		return "-"
	}
	d := expires.Sub(now)
	if d.Abs() < 48*time.Hour {
		return d.Round(time.Hour).String()
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}
