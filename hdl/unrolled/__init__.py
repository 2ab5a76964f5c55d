"""The unrolled core: every product of the merged form has hardware of its own.

Constant products, in the order of reading: :mod:`.slices` (activations some bits at a time),
:mod:`.plan` (what is added to what), :mod:`.distributed` and :mod:`.shared` (two ways to plan),
:mod:`.network` (a plan as a pipeline), :mod:`.fabric` (its tables and sums) with :mod:`.chains`
(what an ECP5's carry cell can look up), :mod:`.product`.
"""
