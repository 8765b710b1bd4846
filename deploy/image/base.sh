#!/usr/bin/env bash
# base.sh SUITE: makes localhost/debian:SUITE-slim from this machine's own Debian mirror, for machines that reach a
# mirror but no image registry. `FROM debian:SUITE-slim` then finds it in local storage. The mirror's address and
# apt's transport settings stay in the image: use it for build stages only. Needs root, mmdebstrap and buildah.
set -euo pipefail
suite=$1
image=localhost/debian:$suite-slim

mirror() { # mirror LABEL: where apt finds the archive whose Release file carries this label
  apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' "Label: $1" | sort -u | head -n 1
}
debian=$(mirror Debian)
security=$(mirror Debian-Security)
if [[ -z $debian ]]; then
  echo "base.sh: apt on this machine knows no Debian archive: run apt-get update, then try again" >&2
  exit 1
fi

source_entry() { # source_entry URI SUITES
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
  printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n'
}
sources=$(
  source_entry "$debian" "$suite $suite-updates"
  [[ -z $security ]] || source_entry "$security" "$suite-security"
)

options=()
while IFS= read -r line; do
  options+=("--aptopt=$line")
done < <(apt-config dump Acquire::Check-Valid-Until Acquire::Check-Date Acquire::http::Proxy Acquire::https::Proxy)

work=$(mktemp -d)
container=
cleanup() {
  [[ -z $container ]] || buildah rm "$container" >/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

mmdebstrap --quiet --variant=minbase --mode=root --format=tar "${options[@]}" \
  "$suite" "$work/root.tar" - <<<"$sources"
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/root.tar" / >/dev/null
buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet "$container" "$image" >/dev/null
echo "$image"
