"""RTSP servers, decoded or copied, through one link that never waits for ever."""
