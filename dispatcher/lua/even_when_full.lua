-- A full server refuses a script at its first write that takes memory, but no longer once it has written. What workers
-- note frees memory in the end, and what they could not note would be sent again.
redis.call('DEL', beside(KEYS[1], 'nothing'))
