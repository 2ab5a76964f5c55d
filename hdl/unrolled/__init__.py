"""The unrolled core: every product of the merged form has its own hardware.

In data-flow order: :mod:`.core` with :mod:`.streams` (turns) and :mod:`.table`;
:mod:`.attention` with :mod:`.rows`, :mod:`.cache`, :mod:`.scores`, :mod:`.softmax` and :mod:`.mix`;
:mod:`.finish` with :mod:`.root` and :mod:`.offset`; :mod:`.enter` (later layers); :mod:`.noise` and
:mod:`.choose`. :mod:`.schedule` has the timing, :mod:`.target` the building blocks, :mod:`.shape`
the dimensions a user can choose; :mod:`.chorus` is the core on a chip.

Constant products (:mod:`.dense`), in reading order: :mod:`.slices` (activations a few bits at a
time), :mod:`.plan` (the graph of additions), :mod:`.distributed` and :mod:`.shared` (two ways to
plan), :mod:`.network` (a plan as a pipeline), :mod:`.fabric` (its tables and sums) with
:mod:`.chains` (functions that an ECP5's carry cell can look up), :mod:`.product`.
"""
