"""Run the simulator: `python -m dispatcher.dev.simulator --port 2197 --dir DIR`."""

from __future__ import annotations

from dispatcher.dev.simulator.command import simulator

if __name__ == "__main__":
    simulator()
