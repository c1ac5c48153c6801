#!/bin/sh
# Runs psql, given with its options, without the CONTEXT of errors.
exec "$@" -v SHOW_CONTEXT=never
