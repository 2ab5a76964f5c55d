"""The unrolled core: every product of the merged form has hardware of its own.

In the order of the data: :mod:`.core` with :mod:`.streams` (turns) and :mod:`.table`;
:mod:`.attention` with :mod:`.rows`, :mod:`.cache`, :mod:`.scores`, :mod:`.softmax` and :mod:`.mix`;
:mod:`.finish` with :mod:`.root` and :mod:`.offset`; :mod:`.enter` (later layers); :mod:`.noise` and
:mod:`.choose`. :mod:`.schedule` says when, :mod:`.target` of what, :mod:`.shape` what may be
chosen; :mod:`.chorus` is the core on a chip.

Constant products (:mod:`.dense`), in the order of reading: :mod:`.slices` (activations some bits at
a time), :mod:`.plan` (what is added to what), :mod:`.distributed` and :mod:`.shared` (two ways to
plan), :mod:`.network` (a plan as a pipeline), :mod:`.fabric` (its tables and sums) with
:mod:`.chains` (what an ECP5's carry cell can look up), :mod:`.product`.
"""
