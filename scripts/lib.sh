# shellcheck shell=bash disable=SC2034
# What the scripts beside this file share: how they speak, and how they become root.

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' red='' green='' yellow='' plain=''
fi

heading() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }
say() { printf '   %s\n' "$*"; }
warn() { printf '%s!! %s%s\n' "$yellow" "$*" "$plain" >&2; }
die() {
  printf '%sxx %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

# Prints how long `$1` seconds are, for a person.
duration() {
  if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}

# Runs a command as root: as it is when we are, by sudo when we are not.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}
