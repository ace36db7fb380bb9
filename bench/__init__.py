"""How long builds take: workloads, builders side by side, and the limits of the machine.

    make bench                                    everything, minibuild and buildah in turns
    bench/run.py --workload W3 --vs 'CMD'         one workload, against any builder

Read in this order: `workloads` (what is built), `builders` (by whom), `session` (in which order),
`measure` (what a build cost), `limits` (what the machine alone would take), `report` and `chart`.
"""
