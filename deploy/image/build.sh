#!/usr/bin/env bash
# build.sh docker|buildah 0|1: builds the image attnd:dev from the top of the tree; with 1, also runs it the way it is
# meant to be run (read-only, unprivileged, no capabilities), makes one client call from outside and stops it.
# buildah builds, podman runs. JOBS limits the number of compilers at work.
set -euo pipefail
builder=$1
run=$2
image=attnd:dev
base=debian:trixie-slim
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

exec 3>&2
say() { printf 'image: %s\n' "$*" >&3; }
die() {
  say "$*"
  exit 1
}

arguments=(
  --build-arg "JOBS=${JOBS:-}"
  --build-arg "VERSION=$(git describe --tags --always --dirty 2>/dev/null || echo dev)"
  --tag "$image"
)
if [[ $builder == docker ]]; then
  engine=(docker)
  run_arguments=()
  docker build "${arguments[@]}" .
else
  engine=(podman)
  run_arguments=()
  if [[ ! -d /run/systemd/system ]]; then
    # Inside a container or a small VM there is no systemd to ask for cgroups, and often no right to raise limits.
    engine+=(--runtime runc --cgroup-manager cgroupfs --events-backend file)
    run_arguments+=(--ulimit nofile=4096:4096 --ulimit nproc=4096:4096)
  fi
  if ! buildah inspect --type image "$base" >/dev/null 2>&1 && ! timeout 300 buildah pull --quiet "$base" 2>/dev/null; then
    say "no registry has $base for us: making a stand-in from this machine's Debian mirror"
    deploy/image/base.sh trixie || die "could not make it: is this machine's apt able to fetch packages?"
  fi
  # The OCI format has no HEALTHCHECK.
  buildah build --format docker --isolation chroot --pull-never --layers "${arguments[@]}" .
fi

bytes=$("${engine[@]}" image inspect --format '{{.Size}}' "$image")
say "$image is $((bytes / 1000000)) MB"
[[ $run == 1 ]] || exit 0

# podman complains when it cannot make a systemd timer for the healthcheck; we probe without one.
exec 2> >(grep -v 'systemd/private' >&2)

name=attnd-check-$$
cleanup() { "${engine[@]}" rm --force "$name" >/dev/null 2>&1 || true; }
trap cleanup EXIT
trap 'exit 130' INT TERM

"${engine[@]}" run --detach --name "$name" --read-only --tmpfs /tmp --cap-drop all \
  --security-opt no-new-privileges "${run_arguments[@]}" --publish 127.0.0.1::50051 "$image" >/dev/null

# Docker probes by itself; podman does so only where systemd runs, so there the probe is ours to start.
healthy() {
  if [[ ${engine[0]} == docker ]]; then
    [[ $(docker inspect --format '{{.State.Health.Status}}' "$name") == healthy ]]
  else
    "${engine[@]}" healthcheck run "$name" >/dev/null 2>&1
  fi
}
deadline=$((SECONDS + 60))
until healthy; do
  if ((SECONDS >= deadline)); then
    "${engine[@]}" logs "$name" >&2 || true
    die "the container did not become healthy in 60 seconds"
  fi
  sleep 0.5
done
say "healthy, as user $("${engine[@]}" inspect --format '{{.Config.User}}' "$name"), on a read-only root"

# The client comes from the same image but stands outside the container, and enters by the published port.
address=$("${engine[@]}" port "$name" 50051 | head -n 1)
"${engine[@]}" run --rm --read-only --cap-drop all "${run_arguments[@]}" --network host \
  --entrypoint /usr/bin/attnctl "$image" --server "$address" attend --example cat-sat

"${engine[@]}" stop --time 30 "$name" >/dev/null
status=$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$name")
[[ $status == 0 ]] || die "on SIGTERM attnd ended with exit status $status instead of 0"
say "stopped by SIGTERM with exit status 0"
