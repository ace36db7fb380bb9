"""How long builds take: workloads, builders side by side, and the limits of the machine.

    make bench                                    everything, and all builders that are here
    bench/run.py --workload W3 --vs buildkit      one workload, against BuildKit
    bench/run.py --workload W3 --vs 'CMD'         the same against any builder

Read in this order: `workloads` (what is built), `builders` (by whom), `session` (in which order),
`measure` (what a build cost), `daemon` (what one cost that works elsewhere), `limits` (what the
machine alone would take), `report`, `page` and `chart`.
"""
