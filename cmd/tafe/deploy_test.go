// docs/deploy, as far as it can be tested without Docker, systemd and Kubernetes: the files are parsed and compared with the
// binary.

package main

import (
	"debug/elf"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/deploy/" + name)
	require.NoError(t, err)
	return string(text)
}

// at finds a value in a tree of maps and lists.
func at(t *testing.T, tree any, path ...any) any {
	t.Helper()
	for i, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := tree.(map[string]any)
			require.True(t, ok, "%v", path[:i])
			require.Contains(t, m, step, "%v", path[:i])
			tree = m[step]
		case int:
			list, ok := tree.([]any)
			require.True(t, ok, "%v", path[:i])
			require.Greater(t, len(list), step, "%v", path[:i])
			tree = list[step]
		}
	}
	return tree
}

func TestKubernetesManifests(t *testing.T) {
	onceIsEnough(t)
	objects := map[string]any{}
	for _, document := range strings.Split(deployFile(t, "kubernetes.yaml"), "\n---\n") {
		var object any
		require.NoError(t, yaml.Unmarshal([]byte(document), &object))
		require.Equal(t, "tafe", at(t, object, "metadata", "name"))
		objects[at(t, object, "apiVersion").(string)+" "+at(t, object, "kind").(string)] = object
	}
	for _, kind := range []string{"v1 ConfigMap", "apps/v1 Deployment", "v1 Service", "policy/v1 PodDisruptionBudget",
		"autoscaling/v2 HorizontalPodAutoscaler", "networking.k8s.io/v1 NetworkPolicy"} {
		require.Contains(t, objects, kind)
	}
	require.Len(t, objects, 6)

	// The configuration is good, and listens on the ports that the pod names.
	config := at(t, objects["v1 ConfigMap"], "data", "edge.toml").(string)
	file := filepath.Join(t.TempDir(), "edge.toml")
	writeConfig(t, file, config)
	p := start(t, "check", "-c", file)
	code, _ := p.wait()
	require.Zero(t, code, "%s", p.stderr)
	container := []any{"spec", "template", "spec", "containers", 0}
	deployment := objects["apps/v1 Deployment"]
	ports := map[string]int{}
	for i := range 2 {
		port := at(t, deployment, append(container, "ports", i)...)
		ports[at(t, port, "name").(string)] = at(t, port, "containerPort").(int)
	}
	require.Contains(t, config, fmt.Sprintf("[server]\nlisten = \":%d\"", ports["http"]))
	require.Contains(t, config, fmt.Sprintf("[admin]\nlisten = \":%d\"", ports["admin"]))
	require.Equal(t, []any{"serve", "-c", "/etc/tafe/edge.toml"}, at(t, deployment, append(container, "args")...))
	require.Equal(t, "/etc/tafe", at(t, deployment, append(container, "volumeMounts", 0, "mountPath")...))

	// Probed paths exist; labels and named ports agree.
	e := startServe(t)
	for _, probe := range []string{"readinessProbe", "livenessProbe"} {
		get := at(t, deployment, append(container, probe, "httpGet")...)
		require.Equal(t, "admin", at(t, get, "port"))
		resp, err := http.Get("http://" + e.admin + at(t, get, "path").(string))
		require.NoError(t, err)
		_ = resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	for _, selector := range [][]any{{"apps/v1 Deployment", "spec", "selector", "matchLabels"}, {"v1 Service", "spec", "selector"},
		{"policy/v1 PodDisruptionBudget", "spec", "selector", "matchLabels"}, {"networking.k8s.io/v1 NetworkPolicy", "spec", "podSelector", "matchLabels"}} {
		require.Equal(t, at(t, deployment, "spec", "template", "metadata", "labels"), at(t, objects[selector[0].(string)], selector[1:]...))
	}
	require.Equal(t, "http", at(t, objects["v1 Service"], "spec", "ports", 0, "targetPort"))
	require.Equal(t, "admin", at(t, objects["networking.k8s.io/v1 NetworkPolicy"], "spec", "ingress", 1, "ports", 0, "port"))
	metric := at(t, objects["autoscaling/v2 HorizontalPodAutoscaler"], "spec", "metrics", 0, "pods", "metric", "name").(string)
	_, metrics := get(t, e.admin, "/metrics")
	require.Contains(t, metrics, strings.Replace(metric, "_p99", "", 1)+"_bucket", "the series that it is made of")
}

// The binary of the Dockerfile needs nothing of the system: it runs in an image without one.
func TestStaticBinary(t *testing.T) {
	onceIsEnough(t)
	dockerfile := deployFile(t, "Dockerfile")
	require.Contains(t, dockerfile, `RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /tafe ./cmd/tafe`, "the build of staticBinary")
	out := staticBinary(t)
	f, err := elf.Open(out)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "no dynamic linker")
	}
	bare := exec.Command(out, "version")
	bare.Env = []string{}
	text, err := bare.CombinedOutput()
	require.NoError(t, err, "%s", text)

	command := regexp.MustCompile(`(?m)^CMD \[(.*)\]$`).FindStringSubmatch(dockerfile)
	require.NotNil(t, command)
	requireFlags(t, strings.Split(strings.ReplaceAll(command[1], `"`, ""), ", "))
}

// requireFlags checks a command line against the flags of its command.
func requireFlags(t *testing.T, line []string) {
	t.Helper()
	help := start(t, line[0], "--help")
	var text strings.Builder
	for {
		l, err := help.stdout.ReadString('\n')
		text.WriteString(l)
		if err != nil {
			break
		}
	}
	for _, word := range line[1:] {
		if flag, ok := strings.CutPrefix(word, "--"); ok {
			require.Contains(t, text.String(), "-"+flag+" ", word)
		}
	}
}

func TestSystemdUnit(t *testing.T) {
	unit := deployFile(t, "tafe.service")
	for _, exec := range regexp.MustCompile(`(?m)^Exec\w+=/usr/local/bin/tafe (.*)$`).FindAllStringSubmatch(unit, -1) {
		requireFlags(t, strings.Fields(exec[1]))
	}
	path := testrig.Program(t, "systemd-analyze") // the unit's own syntax
	dir := t.TempDir()
	file := filepath.Join(dir, "tafe.service")
	// The binary is where it is, not where it will be.
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/tafe", binary)), 0o600))
	socket := filepath.Join(dir, "tafe.socket")
	require.NoError(t, os.WriteFile(socket, []byte(deployFile(t, "tafe.socket")), 0o600))
	out, err := exec.Command(path, "verify", "--man=no", file, socket).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
