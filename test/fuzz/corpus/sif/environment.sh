#!/bin/sh
export A="${A:-"/bin"}"
B='x'
C=$D
if true; then
E=1
fi
