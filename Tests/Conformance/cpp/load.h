// Many calls and streams, first to one server and, once that takes no more, to the next: see Swift/Client/Load.swift.
#pragma once

// Prints each call that failed with its name, then how many were OK.
void RunLoad(double seconds, int port, int next_port);
