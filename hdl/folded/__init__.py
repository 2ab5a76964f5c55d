"""The folded core: one MAC array, time-shared by the whole network.

Read in the order of the data flow: :mod:`.core` (what is connected to what), :mod:`.control` (a
document, token by token), :mod:`.embedding`, :mod:`.sequencer` (the program), :mod:`.memories`,
:mod:`.mac_array`, :mod:`.drain`, :mod:`.requantise`, :mod:`.writeback`, :mod:`.norm`,
:mod:`.softmax`, :mod:`.sampler`.
"""
