.PHONY: help run test check format

help:
	@echo "make run     measure the embedded model, reasoning off and on"
	@echo "make test    make the environment, then check everything"
	@echo "make check   check everything in the environment as it stands"
	@echo "make format  write the format that the check wants"

run:
	@scripts/run

test:
	@scripts/test

check:
	@scripts/check

format:
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
