#!/bin/sh
# check.sh - the tests of this folder under one kernel: check.sh KERNELS SUITE BUILD OUT
#
# Leaves OUT.log, pytest's report OUT.xml, and its exit status in OUT.status.
# shellcheck disable=SC2016 # what is in single quotes is for the shell in the machine
set -eu
kernels=$1 suite=$2 build=$3 out=$4
cd "$(dirname "$0")"
rm -f "$out.xml" "$out.status"
version=$(./kernel.sh "$suite" "$kernels")
status=0
APPTAP_BUILD=$build VM_ENV="APPTAP_BUILD=$build APPTAP_VM=1 APPTAP_PATIENCE=8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=../e2e" \
	./vm.sh "$kernels" "$version" sh -c '
		/usr/bin/python3 -m pytest -p no:cacheprovider -ra --color=no --junitxml=/run/report.xml \
			-c /dev/null --rootdir=. test_under_kernel.py test_without_nflog.py
		status=$?
		echo vm-report
		cat /run/report.xml
		exit $status' >"$out.all" 2>"$out.err" || status=$?
sed '/^vm-report$/,$d' "$out.all" >"$out.log"
cat "$out.err" >>"$out.log"
sed '1,/^vm-report$/d' "$out.all" >"$out.xml"
rm -f "$out.all" "$out.err"
echo $status >"$out.status"
