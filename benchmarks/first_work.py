"""Run a stage up to its first useful work, and print how long it took to get there.

STARTED=SECONDS python -m benchmarks.first_work MODULE [ARGUMENT]...

Useful work begins when the stage opens what it works on: raw data, prepared images or a model.
"""

import json
import os
import runpy
import sys
import time

MATERIAL = (".zip", "/inputs.npy", ".keras")


def main() -> None:
    """Run the module named on the command line under watch."""
    started = float(os.environ["STARTED"])

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(MATERIAL):
            print(json.dumps({"wall": time.time() - started, "processor": time.process_time()}))
            sys.stdout.flush()
            os._exit(0)

    sys.argv = sys.argv[1:]
    sys.addaudithook(watch)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit(f"{sys.argv[0]} has opened nothing that ends in {', '.join(MATERIAL)}")


if __name__ == "__main__":
    main()
