#!/usr/bin/env bash
# Tests ./penstock and setup/setup.sh with stand-ins for apt, Python, CMake and ninja: nothing is
# installed, downloaded or compiled.
#   bash tests/setup/entry_script_test.sh
set -euo pipefail

source_root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
clone=$work/clone
calls=$work/calls
failures=0

# --- stand-ins: each notes its call in $FAKE_CALLS

mkdir -p "$work/bin"
stand_in() { # NAME, body on stdin
  # shellcheck disable=SC2016 # expands in the stand-in
  { printf '#!/bin/bash\nset -e\necho "%s $*" >>"$FAKE_CALLS"\n' "$1"; cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

stand_in dpkg-query <<'END'
for name in "${@:4}"; do
  state=installed
  [[ " ${FAKE_MISSING:-} " != *" $name "* ]] || state=config-files
  printf '%s:%s ' "$name" "$state"
done
END
stand_in apt-get </dev/null
stand_in ldconfig </dev/null
stand_in ctest </dev/null
stand_in sudo <<'END'
exit 1
END
stand_in python <<'END'
if [[ $2 == venv ]]; then
  mkdir -p "$3/bin" "$3/lib/python3.9/site-packages"
  cp "$0" "$3/bin/python"
  exit
fi
environment=${0%/bin/python}
torch=$environment/lib/python3.9/site-packages/torch
mkdir -p "$torch/lib" "$torch/include/torch/headeronly"
[[ -z ${FAKE_INTERRUPT:-} ]] || { kill -KILL "$PPID"; exit 1; }
touch "$torch/lib/libtorch_cpu.so"
printf '#define TORCH_VERSION_%s\n' 'MAJOR 2' "MINOR ${FAKE_MINOR:-11}" 'PATCH 0' \
  >"$torch/include/torch/headeronly/version.h"
END
stand_in cmake <<'END'
mkdir -p "$2/build/release/bin"
END
stand_in ninja <<'END'
[[ -z ${FAKE_BROKEN:-} ]] || { cat "$FAKE_BROKEN"; exit 1; }
printf '#!/bin/bash\necho "cwd $PWD arguments $*"\n' >"$2/bin/penstock"
chmod +x "$2/bin/penstock"
echo '[0/2] Re-checking globbed directories...'
echo 'ninja: no work to do.'
END

# --- helpers

new_clone() {
  rm -rf "$clone" "$calls"
  mkdir -p "$clone"
  cp -r "$source_root/penstock" "$source_root/setup" "$clone"
  : >"$calls"
}

# Runs a command as on a bare machine: no HOME, no stdin. Sets output and status.
bare() {
  status=0
  output=$(env -i PATH="$work/bin:/usr/bin:/bin" FAKE_CALLS="$calls" PENSTOCK_PYTHON=python "$@" \
    2>&1 </dev/null) || status=$?
}

expect() { # WHAT CONDITION...
  local what=$1
  shift
  "$@" && return
  printf 'FAILED: %s\n  condition: %s\n  status %s, output:\n%s\n  calls:\n%s\n' \
    "$what" "$*" "$status" "$output" "$(<"$calls")"
  failures=$((failures + 1))
}
says() { [[ $output == *"$1"* ]]; }
exits() { ((status == $1)); }
called() { grep -q -- "$1" "$calls"; }
not() { ! "$@"; }
times() { (($(grep -c -- "$2" "$calls") == $1)); }

# --- tests

new_clone
bare "$clone/penstock" train a.toml --set x=1
expect "the first call sets up and runs the program" exits 0
expect "the program gets the arguments" says "arguments train a.toml --set x=1"
expect "CUDA wheels are installed where the loader has no toolkit" \
  grep -q nvidia-cuda-cupti "$clone/.penstock/torch-env/requirements.txt"
expect "the torch link leads to the package" test -e "$clone/.penstock/torch/lib/libtorch_cpu.so"

: >"$calls"
bare "$clone/penstock" version
expect "the second call runs the program" says "arguments version"
expect "the second call asks ninja" called '^ninja .*penstock-cli'
expect "the second call does nothing else" times 1 '.'
expect "the second call is silent" not says '[setup]'

mkdir -p "$work/links" "$work/elsewhere"
ln -s ../clone/penstock "$work/links/first"
ln -s first "$work/links/second"
bare bash -c "cd $work/elsewhere && ../links/second train b.toml"
expect "links are followed, the caller's folder is kept" says "cwd $work/elsewhere arguments train"

: >"$calls"
echo '# a new pin' >>"$clone/setup/requirements.txt"
bare "$clone/penstock" version
expect "a changed pin installs again" called 'pip install'
expect "a changed pin makes no other build folder" not called '^cmake'

new_clone
bare FAKE_INTERRUPT=1 "$clone/penstock" version
expect "an interrupted call fails" exits 137
touch "$clone/.penstock/torch-env.new/half"
: >"$calls"
bare "$clone/penstock" version
expect "an interrupted set-up can be repeated" exits 0
expect "the half-made environment is gone" not test -e "$clone/.penstock/torch-env/half"
expect "finished steps are not repeated" not called '^dpkg-query'

{ printf 'FAILED: loader.o\nloader.cpp:7: error: no\n'; seq 100000; } >"$work/errors"
bare FAKE_BROKEN="$work/errors" "$clone/penstock" version
expect "a compiler error stops" exits 1
expect "a compiler error is shown" says 'loader.cpp:7: error: no'

cp -rL "$clone/.penstock/torch" "$work/own"
: >"$calls"
bare PENSTOCK_TORCH_ROOT="$work/own" "$clone/penstock" version
expect "another LibTorch is configured" called "^cmake .*PENSTOCK_TORCH_ROOT=$work/own "
bare PENSTOCK_TORCH_ROOT="$work/own" "$clone/penstock" version
expect "another LibTorch is configured once" times 1 '^cmake'
bare "$clone/penstock" version
expect "unsetting it configures the pinned one" called "^cmake .*=$clone/.penstock/torch "
sed -i 's/MINOR 11/MINOR 10/' "$work/own/include/torch/headeronly/version.h"
bare PENSTOCK_TORCH_ROOT="$work/own" "$clone/penstock" version
expect "a wrong LibTorch is a user's mistake" exits 2
expect "a wrong LibTorch is named" says "$work/own is LibTorch 2.10.0, Penstock needs 2.11; set it to"
bare PENSTOCK_TORCH_ROOT="$work/elsewhere" "$clone/penstock" version
expect "a folder without LibTorch is named" says "$work/elsewhere is not a LibTorch 2.11"
expect "a folder without LibTorch is a user's mistake" exits 2

new_clone
bare FAKE_MINOR=10 "$clone/penstock" version
expect "a wheel of the wrong version is refused" says 'the installed wheel is LibTorch 2.10.0'

new_clone
as_user=()
if ((EUID == 0)); then
  chown -R 65534 "$clone" "$calls"
  as_user=(setpriv --reuid=65534 --clear-groups)
fi
bare FAKE_MISSING='mold g++' "${as_user[@]}" "$clone/penstock" version
expect "missing packages without root stop" exits 1
expect "missing packages are named, others not" says '--no-install-recommends g++ mold'
expect "nothing is installed without root" not called '^apt-get'

if ((EUID == 0)); then
  new_clone
  bare FAKE_MISSING='mold g++' "$clone/penstock" version
  expect "root installs what is missing" \
    called '^apt-get .*install --yes --no-install-recommends g++ mold$'
  : >"$calls"
  bare FAKE_MISSING='shellcheck' "$clone/penstock" setup --check
  expect "--check installs the check group" called '^apt-get .* shellcheck$'
fi

new_clone
bare bash -c "'$clone/penstock' version & '$clone/penstock' version & wait"
expect "of two first calls one sets up" times 1 'pip install'
expect "of two first calls both run" test "$(grep -c 'arguments version' <<<"$output")" = 2

: >"$calls"
bare PENSTOCK_JOBS=3 "$clone/penstock" test -R loader
expect "PENSTOCK_JOBS reaches ninja" called '^ninja .*-j 3 all'
expect "arguments of test reach ctest" called '^ctest .*-R loader$'
bare PENSTOCK_JOBS=0 "$clone/penstock" version
expect "PENSTOCK_JOBS is checked" says 'PENSTOCK_JOBS = 0 is not a whole number'
expect "a wrong PENSTOCK_JOBS is a user's mistake" exits 2

new_clone
for arguments in "" --help -h help; do
  # shellcheck disable=SC2086 # no argument is one of the cases
  bare "$clone/penstock" $arguments
  expect "help ($arguments) is given before set-up" says 'usage: ./penstock COMMAND'
  expect "help ($arguments) does not set up" not test -s "$calls"
done
listed=$(sed -n '/^commands/,/^$/s/^  \([a-z]*\) .*/\1/p' "$source_root/setup/help.txt" | sort)
offered=$({
  printf 'setup\ntest\n'
  sed -n 's/^void add_\([a-z]*\)_command(.*/\1/p' "$source_root/src/cli/commands.h"
} | sort)
expect "help lists exactly the commands there are: $listed" test "$listed" = "$offered"

((failures == 0)) || exit 1
echo "entry script: all tests passed"
