"""Films: pictures and cards drawn with OpenCV, encoded and written with PyAV."""
